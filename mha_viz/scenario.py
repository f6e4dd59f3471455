"""Scenario: one frozen value of primitives that says everything a picture depends on.

It is the link, the cache key, the exported script and the test case. Fields that `torch.nn.MultiheadAttention` takes
are named as the module names them; `batch_first` only decides how tensors are handed to the module, what comes back
is always [N, H, L, S] and [N, L, E].
"""

from __future__ import annotations

from dataclasses import dataclass

from mha_viz import settings, spelling
from mha_viz.errors import ScenarioError
from mha_viz.settings import setting

LAYER, INPUTS, MASKS, RUN = "Layer", "Inputs", "Masks", "Run"
GROUPS = (INPUTS, MASKS, LAYER, RUN)

MAX_LEN = 131_072
MAX_DIM = 16_384
MAX_TEXT = 20_000
PATTERNED = ("normal", "uniform", "one_hot", "positional", "repeated", "clusters")  # the names in inputs.synthetic
SENTENCE = "the cat sat on the mat because the cat was tired"


@dataclass(frozen=True)
class Scenario:
    """Everything a run depends on: the layer, its inputs, its masks, and how it is called.

    Raises:
        ScenarioError: A field has the wrong type or is out of bounds, or two fields do not fit each other.
        MaskError: `mask` or `score_bias` cannot be read.

    Example:
        >>> Scenario(embed_dim=64, num_heads=4, query_len=16, mask="causal & window(4)", seed=0)
    """

    # Inputs
    source: str = setting(
        "text",
        group=INPUTS,
        first=True,
        choices=("text", *PATTERNED, "table", "upload"),
        help="Where query, key and value come from: your own text, a made-up pattern, a table of numbers, or a file.",
    )
    text: str = setting(
        SENTENCE,
        group=INPUTS,
        first=True,
        max_chars=MAX_TEXT,
        lines=3,
        help="Cut into words and punctuation; each distinct token gets its own random vector. "
        "Each line is one item of the batch.",
    )
    key_text: str = setting(
        "",
        group=INPUTS,
        max_chars=MAX_TEXT,
        lines=2,
        label="key_text (cross-attention)",
        help="Text for key and value, when they are not the query: then the layer does cross-attention. "
        "Empty: self-attention.",
    )
    positions: bool = setting(
        True,
        group=INPUTS,
        label="add positions",
        help="Add sinusoidal positions (Vaswani et al. 2017) to the vectors of the text, so that order matters.",
    )
    table: str = setting(
        "",
        group=INPUTS,
        first=True,
        max_chars=MAX_TEXT,
        lines=5,
        help="Numbers for the query, one token a line, embed_dim numbers each; the first column may hold a label.",
    )
    key_table: str = setting(
        "", group=INPUTS, max_chars=MAX_TEXT, lines=3, help="Numbers for the key. Empty: the key is the query."
    )
    value_table: str = setting(
        "", group=INPUTS, max_chars=MAX_TEXT, lines=3, help="Numbers for the value. Empty: the value is the key."
    )
    query_file: str = setting(
        "", group=INPUTS, first=True, help="The uploaded file (and its tensor) that is the query."
    )
    key_file: str = setting("", group=INPUTS, help="The uploaded file that is the key. Empty: the key is the query.")
    value_file: str = setting("", group=INPUTS, help="The uploaded file that is the value. Empty: it is the key.")
    query_len: int | None = setting(
        None,
        group=INPUTS,
        low=1,
        high=MAX_LEN,
        help="L, how many query tokens there are. Empty: as many as the text, table or file has, else 16. "
        "A text is cut or repeated to fit.",
    )
    key_len: int | None = setting(
        None,
        group=INPUTS,
        low=1,
        high=MAX_LEN,
        help="S, how many key tokens there are; a number here means cross-attention. Empty: the key is the query.",
    )
    batch_size: int | None = setting(
        None,
        group=INPUTS,
        low=1,
        high=4_096,
        help="N, how many items are in the batch. Empty: one for each line of the text, else 1.",
    )
    unbatched: bool = setting(
        False, group=INPUTS, help="Hand the module query [L, E] without a batch dimension, which it accepts too."
    )

    # Masks
    mask: str = setting(
        "causal",
        group=MASKS,
        first=True,
        max_chars=4_000,
        canonical=spelling.mask,
        lines=2,
        help="Which keys each query may attend to, such as `causal & window(4)` or `(q - k < 3) | (k == 0)`. "
        "The page Reference lists all patterns.",
    )
    score_bias: str = setting(
        "",
        group=MASKS,
        max_chars=4_000,
        canonical=spelling.bias,
        help="Numbers added to the scores before the softmax, such as `alibi` or `-abs(q - k) / 2`.",
    )
    padding: str = setting(
        "auto",
        group=MASKS,
        max_chars=8_000,
        canonical=spelling.padding,
        help="The real length of each batch item, such as `5, 3, 4`: keys after it are hidden by key_padding_mask. "
        "`auto`: the lengths of the texts, where they differ; `none`: no padding mask.",
    )
    mask_encoding: str = setting(
        "bool",
        group=MASKS,
        choices=("bool", "float"),
        help="How masks reach the module: bool (True = ignore) or float (0 = keep, -inf = ignore). The weights are "
        "the same.",
    )
    is_causal: bool = setting(
        False,
        group=MASKS,
        help="The hint is_causal=True. With weights asked for, the module still uses attn_mask; without a mask it "
        "refuses the hint.",
    )

    # Layer
    embed_dim: int = setting(64, group=LAYER, low=1, high=MAX_DIM, help="E, the size of each token's vector.")
    num_heads: int = setting(
        4, group=LAYER, first=True, low=1, high=256, help="H, how many heads share embed_dim; it must divide embed_dim."
    )
    qk_scale: float = setting(
        3.0,
        group=LAYER,
        low=0.0,
        high=1_000.0,
        label="query scale",
        help="Multiplies the query projection of the untrained layer, so that scores are this many times larger and "
        "the heads differ visibly. 1 is torch's own initialisation, which is nearly uniform.",
    )
    dropout: float = setting(
        0.0,
        group=LAYER,
        low=0.0,
        high=1.0,
        help="Share of weights set to 0 in train mode; the others are divided by 1 - dropout, so rows no longer "
        "sum to 1.",
    )
    bias: bool = setting(True, group=LAYER, help="Give the projections a bias vector.")
    add_bias_kv: bool = setting(
        False, group=LAYER, help="Append one learned key and value: weights get an extra column, never masked."
    )
    add_zero_attn: bool = setting(
        False, group=LAYER, help="Append one key and value of zeros: weights get an extra column, never masked."
    )
    kdim: int | None = setting(
        None, group=LAYER, low=1, high=MAX_DIM, help="Size of the key's vectors. Empty: embed_dim."
    )
    vdim: int | None = setting(
        None, group=LAYER, low=1, high=MAX_DIM, help="Size of the value's vectors. Empty: embed_dim."
    )
    batch_first: bool = setting(
        True,
        group=LAYER,
        help="Hand over query as [N, L, E] (True) or [L, N, E] (False, the module's default). The weights are the "
        "same.",
    )

    # Run
    training: bool = setting(
        False, group=RUN, label="train mode", help="Train mode: dropout is active. Off: eval mode."
    )
    need_weights: bool = setting(
        True,
        group=RUN,
        help="What your call asks for. Off: the module returns no weights and may take a fused path; the picture "
        "then comes from a second call.",
    )
    average_attn_weights: bool = setting(
        False,
        group=RUN,
        help="What your call asks for. On (the module's default): it returns only the average over heads; the "
        "heads then come from a second call.",
    )
    seed: int = setting(
        0, group=RUN, first=True, low=0, high=2**32 - 1, help="Seed of the layer's weights, inputs and dropout."
    )
    dtype: str = setting(
        "float32",
        group=RUN,
        choices=("float32", "float64", "bfloat16", "float16"),
        canonical=spelling.dtype,
        help="Number format of the layer and its inputs.",
    )
    device: str = setting("cpu", group=RUN, canonical=spelling.device, help="Where the layer runs.")

    def __post_init__(self) -> None:
        for name in settings.metadata(Scenario):
            object.__setattr__(self, name, settings.normalise(getattr(self, name), Scenario, name))
        _check_together(self)

    @property
    def cross_attention(self) -> bool:
        """Whether key and value are tensors of their own rather than the query."""
        separate = {"text": self.key_text.strip(), "table": self.key_table.strip(), "upload": self.key_file}
        resized = {self.kdim, self.vdim} - {None, self.embed_dim}
        return bool(self.key_len is not None or separate.get(self.source) or resized)

    def to_query(self) -> str:
        """Return the settings that differ from their defaults as a URL query string."""
        return settings.to_query(self)

    @classmethod
    def from_query(cls, text: str) -> Scenario:
        """Return the Scenario that a query string gives; settings it doesn't know are ignored.

        Raises:
            MhaVizError: A known setting has a value that is not allowed, or two do not fit each other.
        """
        read = settings.read_query(cls, text)
        if read.errors:
            raise read.errors[0]
        return cls(**read.values)


def _check_together(s: Scenario) -> None:
    if s.embed_dim % s.num_heads:
        nearest = max(h for h in range(1, s.num_heads + 1) if s.embed_dim % h == 0)
        message = (
            f"num_heads must divide embed_dim, but {s.embed_dim} / {s.num_heads} is not a whole number: "
            f"try num_heads={nearest} or embed_dim={s.num_heads * max(1, round(s.embed_dim / s.num_heads))}."
        )
        raise ScenarioError(message, field="num_heads")
    if s.unbatched and s.batch_size not in (None, 1):
        message = f"unbatched=True has no batch dimension, so batch_size must be 1 or None, not {s.batch_size}."
        raise ScenarioError(message, field="unbatched")
    if s.is_causal and s.mask == "full" and not s.score_bias:
        message = (
            "is_causal=True is a hint about attn_mask and the module refuses it without one, but mask is 'full': "
            "set mask='causal' or is_causal=False."
        )
        raise ScenarioError(message, field="is_causal")
