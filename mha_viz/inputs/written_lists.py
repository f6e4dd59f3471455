"""Nested lists and what tensors and arrays print, read without evaluating anything.

The text is cut at its brackets; the words between the innermost ones are read one by one.
"""

from __future__ import annotations

import re

import torch

from mha_viz.errors import InputError
from mha_viz.inputs.written import from_rows, no_values

MAX_DIMENSIONS = 4

_TYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in _TYPES}
DTYPES |= {f"torch.{name}": dtype for name, dtype in DTYPES.items()}
DTYPES |= {f"np.{name}": DTYPES[name] for name in _TYPES if name != "bfloat16"}
DTYPES |= {"torch.half": torch.float16, "torch.float": torch.float32, "torch.double": torch.float64}
DTYPES |= {"torch.int": torch.int32, "torch.long": torch.int64, "float": torch.float64, "int": torch.int64}
"""The number formats that a text may name."""

_LONGEST = 200  # characters before or behind the lists: some texts take the patterns below quadratic time
_START = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_]\w*)\s*=\s*)?(?:(?:(?:torch|np|numpy|jnp)\.)?(?P<call>(?:as_)?tensor|as[Aa]rray|[Aa]rray)\()?\s*"
)
_OPTION = r"""\s*,\s*(?:dtype=['"]?{dtype}['"]?|device=[\w.:'"()= ]+|requires_grad=(?:True|False)|grad_fn=<\w+>)"""
_END = re.compile(rf"(?:{_OPTION.format(dtype='[A-Za-z0-9_.]+')})*,?\s*\)\s*")
_DTYPE = re.compile(r"""dtype=['"]?([A-Za-z0-9_.]+)""")
_PREFIX = re.compile(r"\b(?:torch|np|numpy|jnp|math)\.(?=inf\b|nan\b|True_\b|False_\b|u?int\d+\(|float\d+\()")
_WRAPPED = re.compile(r"""\b(?:float|u?int\d+|float\d+)\(\s*(['"]?)([-+\w.]+)\1\s*\)|\b(True|False)_\b""")


def from_lists(text: str) -> tuple[str, torch.Tensor]:
    """Read nested lists, alone or inside `name = torch.tensor(...)`, or what a tensor or an array prints.

    Returns:
        The name before the `=`, or "", and the tensor.

    Raises:
        InputError: Cells are left out by `...`, the lists are uneven or too deep, or something else stands in the text.
    """
    if "..." in text or "…" in text:
        raise InputError(
            "the mask leaves cells out by '...': print it whole, after torch.set_printoptions(profile='full') "
            "or np.set_printoptions(threshold=2**31)."
        )
    before, _, after = text.partition("[")
    start = _START.fullmatch(before) if len(before) <= _LONGEST else None
    if not start:
        raise _stray(before, "before")
    body, rest = _cut("[" + after)
    named = _named_dtype(rest, called=bool(start["call"]))
    rows, outer = _rows(_plain(body))
    from_numpy = named is None and (start["call"] or "").lower().endswith("array")
    floats = torch.float64 if from_numpy or named == torch.float64 else torch.float32
    tensor = from_rows(rows, "," if any("," in row for row in rows) else None, outer, floats=floats)
    return start["name"] or "", tensor if named is None else _cast(tensor, named)


def _stray(text: str, side: str) -> InputError:
    given = " ".join(text[:200].split())[:40]
    return InputError(
        f"{given!r} stands {side} the list: only the list, or what a tensor or an array prints, is read, and no code."
    )


def _cut(text: str) -> tuple[str, str]:
    """Cut the text behind the bracket that closes the first one."""
    depth = 0
    for bracket in re.finditer(r"[\[\]]", text):
        depth += 1 if bracket[0] == "[" else -1
        if depth > MAX_DIMENSIONS:
            raise InputError(f"a mask has at most {MAX_DIMENSIONS} dimensions, but its lists are nested deeper.")
        if depth == 0:
            return text[: bracket.end()], text[bracket.end() :]
    raise InputError("the mask has a '[' that is never closed: paste it whole.")


def _named_dtype(rest: str, *, called: bool) -> torch.dtype | None:
    """Return the number format named behind the lists, having checked that nothing else stands there."""
    rest = rest.strip()
    if not (len(rest) <= _LONGEST and _END.fullmatch(rest) if called else not rest):
        raise _stray(rest, "behind") if rest else InputError("the mask has a '(' that is never closed.")
    found = _DTYPE.search(rest)
    if found and found[1] not in DTYPES:
        raise InputError(f"dtype must be a bool, int or float type of torch, not {found[1][:40]!r}.")
    return DTYPES[found[1]] if found else None


def _plain(body: str) -> str:
    """Write `float("-inf")`, `torch.inf` and `np.float32(0.5)` as plain words."""
    if "(" not in body and "_" not in body and ".inf" not in body and ".nan" not in body:
        return body
    return _WRAPPED.sub(lambda found: found[3] or found[2], _PREFIX.sub("", body))


def _rows(body: str) -> tuple[list[str], tuple[int, ...]]:
    """Return the texts of the innermost lists, and the shape that the other lists form."""
    rows: list[str] = []
    held: list[int] = []  # how many lists each open list holds so far
    sizes: dict[int, int] = {}  # how many lists a list holds, by its depth; 0 for the innermost
    end, last = 0, ""
    for bracket in re.finditer(r"[\[\]]", body):
        between = body[end : bracket.start()]
        innermost = last + bracket[0] == "[]"
        if not innermost and between.strip() not in ("", "," if last == "]" else ""):
            stray = between.strip(" \r\n\t,")[:40]
            raise InputError(f"{stray!r} stands beside a list: a list holds either lists or values, not both.")
        if innermost:
            rows.append(between)
            if not between.strip():
                raise no_values(len(rows))
        if bracket[0] == "[":
            held[-1:] = [count + 1 for count in held[-1:]]
            held.append(0)
        else:
            depth, size = len(held), held.pop()
            if sizes.setdefault(depth, size) != size:
                raise InputError(f"lists at depth {depth} hold {sizes[depth]:,} and {size:,} lists: they must be even.")
        end, last = bracket.end(), bracket[0]
    return rows, tuple(sizes[depth] for depth in sorted(sizes)[:-1])


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    cast = tensor.to(dtype)
    if dtype in (torch.bool, tensor.dtype) or dtype.is_floating_point:
        return cast
    wrong = cast.to(torch.float64) != tensor.to(torch.float64)
    if wrong.any():
        given = tensor[tuple(wrong.nonzero()[0])].item()
        raise InputError(f"the mask holds {given}, which its dtype {dtype} cannot hold.")
    return cast
