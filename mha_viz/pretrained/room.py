"""How much memory a forward of a pretrained model may need, decided before it runs."""

from __future__ import annotations

from typing import Any

from mha_viz.attention import memory
from mha_viz.errors import CapacityError

# Of a model that does not say how large it is: more than most of those that say nothing have.
LAYERS, HEADS = 24, 16
STEPS = 3  # scores, masked scores and softmax of the layer that runs


def check(title: str, config: Any, items: int, length: int, target: int = 0) -> None:
    """Refuse a forward that would not fit, before anything is allocated.

    Args:
        title: What the model is called.
        config: Of the model.
        items: N.
        length: Tokens that the encoder, or the only stack, reads.
        target: Tokens that the decoder of an encoder-decoder reads; 0 without one.

    Raises:
        CapacityError: The weights of all layers would need more than the limit.
    """
    of_text = config.get_text_config() if hasattr(config, "get_text_config") else config
    layers = _number(of_text, ("num_hidden_layers", "encoder_layers"), LAYERS)
    decoders = _number(of_text, ("decoder_layers", "num_decoder_layers"), layers)
    heads = _number(of_text, ("num_attention_heads", "encoder_attention_heads"), HEADS)
    longest = max(length, target)
    pairs = layers * length**2 + decoders * target * (target + length) + STEPS * longest**2
    needed, limit = 4 * items * heads * pairs, memory.limit_bytes()
    if needed > limit:
        shape = f"[{items}, {heads}, {longest}, {longest}]"
        raise CapacityError(
            f"Weights {shape} in each layer of {title} would need about {memory.spelled(needed)}, more than the limit "
            f"of {memory.spelled(limit)}: give fewer or shorter lines, or raise {memory.LIMIT_VARIABLE}.",
            field="model_text",
        )


def _number(config: Any, names: tuple[str, ...], default: int) -> int:
    found = (getattr(config, name, None) for name in names)
    return next((number for number in found if isinstance(number, int)), default)
