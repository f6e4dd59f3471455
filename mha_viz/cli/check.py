"""`mha-viz check mask.npy --heads 8 --intent causal`: what is wrong with the masks of a call."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import torch
from torch import Tensor

from mha_viz.doctor import Report, check
from mha_viz.errors import InputError
from mha_viz.inputs.disk import read_bytes
from mha_viz.inputs.raw_mask import LIMITS, SUFFIXES, RawMask, read_mask
from mha_viz.inputs.raw_mask_text import MAX_CHARACTERS, parse_mask
from mha_viz.masks.recognise import Recognised, recognise

OK, FOUND = 0, 1

HELP = "Says what is wrong with the masks of a call, as they would be passed to torch."

CONVENTIONS = {
    "mha": "True = ignore, as nn.MultiheadAttention reads it",
    "sdpa": "True = attend, as F.scaled_dot_product_attention reads it",
    "float": "added to the scores",
}
_DTYPES = ("float32", "float64", "float16", "bfloat16")
_GUESSES = 3


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the arguments of `check`."""
    formats = f"{', '.join(SUFFIXES)}, or - for text on standard input"
    command.add_argument("mask", nargs="?", help=f"file of the attn_mask, or of both masks: {formats}")
    command.add_argument("--key-padding-mask", metavar="FILE", help="file of the key_padding_mask")
    command.add_argument("--intent", metavar="MASK", help="what should be allowed, such as 'causal & window(8)'")
    command.add_argument("--api", choices=("mha", "sdpa"), default="mha", help="what the mask is for (default: mha)")
    command.add_argument("--is-causal", action="store_true", help="the call passes is_causal=True")
    command.add_argument("--heads", type=_size, metavar="H", help="number of heads")
    command.add_argument("--batch", type=_size, metavar="N", help="batch size")
    command.add_argument("--query-len", type=_size, metavar="L", help="number of queries, read off the mask by default")
    command.add_argument("--key-len", type=_size, metavar="S", help="number of keys, read off the mask by default")
    command.add_argument("--dtype", choices=_DTYPES, default="float32", help="of the query (default: float32)")
    command.add_argument("--json", action="store_true", help="print JSON")


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text[:40]!r}")
    return int(text)


def run(given: argparse.Namespace) -> int:
    """Print the report and return the exit status: 0 if nothing is wrong, 1 if something was found.

    Raises:
        MhaVizError: A file or an argument cannot be read.
    """
    masks = _masks(given.mask, given.key_padding_mask)
    if not masks and not given.is_causal:
        raise InputError("check needs the file of a mask, --key-padding-mask FILE or --is-causal.")
    report = check(
        attn_mask=masks.get("attn_mask"),
        key_padding_mask=masks.get("key_padding_mask"),
        num_heads=given.heads,
        query_len=given.query_len,
        key_len=given.key_len,
        batch_size=given.batch,
        intent=given.intent,
        is_causal=given.is_causal,
        api=given.api,
        dtype=getattr(torch, given.dtype),
    )
    guesses: dict[str, list[Recognised]] = {}
    if given.intent is None:
        guesses = {name: recognise(mask, most=_GUESSES, num_heads=given.heads or 1) for name, mask in masks.items()}
    written = _json(masks, guesses, report) if given.json else _text(masks, guesses, report)
    sys.stdout.write(f"{written}\n")
    return OK if report.ok else FOUND


# Files


def _masks(mask: str | None, padding: str | None) -> dict[str, Tensor]:
    """Return the masks of the given files by argument name; a file of one nameless mask is what it was given as."""
    found: dict[str, Tensor] = {}
    for path, role in ((mask, "attn_mask"), (padding, "key_padding_mask")):
        if path is None:
            continue
        for name, tensor in _read(path).tensors.items():
            if (name or role) in found:
                raise InputError(f"{name or role} must be given once, but {mask} and {padding} both hold one.")
            found[name or role] = tensor
    return found


def _read(path: str) -> RawMask:
    if path == "-":
        return parse_mask(sys.stdin.read(MAX_CHARACTERS + 1))
    # One byte more than is allowed is read, so that a larger file is refused.
    return read_mask(path, read_bytes(path, most=LIMITS.max_bytes))


# Output


def _text(masks: dict[str, Tensor], guesses: dict[str, list[Recognised]], report: Report) -> str:
    lines = [f"{name}: {_dtype(mask)} {list(mask.shape)}{_likeness(guesses.get(name))}" for name, mask in masks.items()]
    return "\n".join([*lines, *[""] * bool(lines), str(report)])


def _likeness(guesses: list[Recognised] | None) -> str:
    if not guesses:
        return ""
    best = guesses[0]
    return f", looks like '{best.mask}' ({CONVENTIONS[best.convention]}; {best.agreement:.1%} of its cells agree)"


def _json(masks: dict[str, Tensor], guesses: dict[str, list[Recognised]], report: Report) -> str:
    facts: dict[str, Any] = {
        name: {
            "shape": list(mask.shape),
            "dtype": _dtype(mask),
            "looks_like": [guess._asdict() for guess in guesses.get(name, [])],
        }
        for name, mask in masks.items()
    }
    return json.dumps({"masks": facts, **report.as_dict()}, indent=2)


def _dtype(mask: Tensor) -> str:
    return str(mask.dtype).removeprefix("torch.")
