"""The mask language: who may attend to whom, as text and as expressions.

    mask("causal & window(8)").allowed(query_len=16)    # bool [16, 16], True = may attend
    mask("(q - k < 3) | (k == 0)")                      # comparisons of b, h, q, k and the sizes N, H, L, S
    score_bias("alibi").values(16, num_heads=4)         # float [4, 16, 16], added to the scores

True means *may attend* in all of it; `encode` alone turns it round for `nn.MultiheadAttention`.
"""

from mha_viz.masks.base import Mask
from mha_viz.masks.bias import BIASES, ScoreBias, score_bias
from mha_viz.masks.paint import from_cells, painted
from mha_viz.masks.patterns import PATTERNS
from mha_viz.masks.recognise import Recognised, recognise
from mha_viz.masks.registry import Parameter, Pattern
from mha_viz.masks.text import mask

__all__ = [
    "BIASES",
    "PATTERNS",
    "Mask",
    "Parameter",
    "Pattern",
    "Recognised",
    "ScoreBias",
    "from_cells",
    "mask",
    "painted",
    "recognise",
    "score_bias",
]
