"""Masks and score biases from text. Nothing is ever evaluated: the syntax tree is walked over a fixed set of nodes.

The grammar is that of Python's expressions, so precedence is Python's, and `and`, `or`, `not` may be written for
`& | ~`. Whatever else there is in Python is refused, in one sentence that says where.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Literal, TypeVar

from mha_viz.errors import MaskError
from mha_viz.masks.base import Comparison, Expression, Mask, combine
from mha_viz.masks.index import Arithmetic, Function, Index, Number, Variable
from mha_viz.masks.patterns import PATTERNS
from mha_viz.masks.registry import Pattern
from mha_viz.masks.source import MAX_CHARS, Source, operands, parse

E = TypeVar("E", bound=Expression)

VARIABLES = tuple("bhqkNHLS")
FUNCTIONS = ("abs", "min", "max")
LOGIC: dict[type[ast.AST], str] = {ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.And: "&", ast.Or: "|"}
WHOLE: dict[type[ast.AST], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%"}
FRACTIONAL: dict[type[ast.AST], str] = {ast.Div: "/", ast.Pow: "**"}
COMPARISONS: dict[type[ast.AST], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.GtE: ">=",
    ast.Gt: ">",
}


def mask(text: str | Mask) -> Mask:
    """Read a mask; one that is already read comes back as it is.

    `str()` of the result is its canonical text, which reads back as an equal mask.

    Args:
        text: Such as `causal & window(8)` or `(q - k < 3) | (k == 0)`, at most 4,000 characters.

    Raises:
        MaskError: The text cannot be read; its `position` says where, if there is one place.
    """
    return text if isinstance(text, Mask) else _mask(text)


@lru_cache(maxsize=256)
def _mask(text: str) -> Mask:
    source, tree = parse(text, "mask")
    return _printable(_MaskReader(source).mask(tree))


def read_index(text: str, names: Mapping[str, Pattern[Index]]) -> Index:
    """Return the number that a text says, where fractions and `names` may occur; raise `MaskError` if it says none."""
    source, tree = parse(text, "score bias")
    return _printable(_BiasReader(source, names).index(tree))


def _printable(expression: E) -> E:
    # Printing adds spaces and defaults; what would be too long to be read back must not be accepted either.
    if len(str(expression)) > MAX_CHARS:
        raise MaskError(f"a text must have at most {MAX_CHARS} characters once it is written out with its spaces")
    return expression


class _IndexReader:
    """Reads numbers; what a mask and a score bias have in common."""

    arithmetic = WHOLE

    def __init__(self, source: Source, names: Mapping[str, Pattern[Index]] | None = None) -> None:
        self.source = source
        self.names = names or {}

    def index(self, node: ast.expr) -> Index:
        """Return the number at a node."""
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self.number(node, value)
            case ast.Name(id=name) if name in VARIABLES:
                return Variable(name)
            case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)) if name in self.names:
                return self.pattern(node, self.names[name])
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
                return self.function(node, name, arguments)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.index(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in self.arithmetic:
                return Arithmetic(self.arithmetic[type(op)], self.index(left), self.index(right))
        raise self.unexpected(node, "number")

    def number(self, node: ast.expr, value: int | float) -> Index:
        """Return a literal."""
        with self.source.blaming(node):
            return Number(value)

    def function(self, node: ast.expr, name: str, arguments: list[ast.expr]) -> Index:
        """Return `abs` of one number, or `min` or `max` of several."""
        if name == "abs" and len(arguments) != 1:
            raise self.source.error(node, f"abs takes one number, got {len(arguments)} {{at}}")
        if name != "abs" and len(arguments) < 2:
            raise self.source.error(node, f"{name} takes two or more numbers, got {len(arguments)} {{at}}")
        return Function(name, tuple(self.index(argument) for argument in arguments))

    def pattern(self, node: ast.Name | ast.Call, pattern: Pattern[E]) -> E:
        """Return the node of a named pattern, its arguments being literals."""
        call = node if isinstance(node, ast.Call) else ast.Call(func=node, args=[], keywords=[])
        arguments = [self.literal(argument, pattern) for argument in call.args]
        keywords: dict[str, int | float] = {}
        for keyword in call.keywords:
            name = keyword.arg or "**"
            if name in keywords:
                raise self.source.error(keyword.value, f"{pattern.usage} was given {name} twice, again {{at}}")
            keywords[name] = self.literal(keyword.value, pattern)
        with self.source.blaming(node):
            return pattern(*arguments, **keywords)

    def literal(self, node: ast.expr, pattern: Pattern[E]) -> int | float:
        """Return the number that an argument is."""
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
        raise self.source.error(node, f"{pattern.usage} takes plain numbers only, got {{it}} {{at}}")

    def unexpected(self, node: ast.expr, wanted: Literal["mask", "number"]) -> MaskError:
        """Return the error for a node that is neither, is the other one, or has an unknown name."""
        match node:
            case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)) if name not in self.known():
                return self.unknown(node, name, wanted)
            case ast.BinOp(op=ast.Div() | ast.Pow() as op):
                message = (
                    f"'{FRACTIONAL[type(op)]}' in {{it}} {{at}} can leave the whole numbers: a mask has + - * // %"
                )
                return self.source.error(node, message)
        if wanted == "mask" and self.is_number(node):
            return self.source.error(
                node, "a mask is expected {at}, but {it} is a number: compare it, as in 'q - k < 4'"
            )
        if wanted == "number" and self.is_mask(node):
            return self.source.error(node, "a number is expected {at}, but {it} is a mask")
        return self.source.error(node, f"{{it}} {{at}} has no place where a {wanted} is expected")

    def unknown(self, node: ast.expr, name: str, wanted: Literal["mask", "number"]) -> MaskError:
        """Return the error for an unknown name, with the nearest known one."""
        known = PATTERNS.keys() if wanted == "mask" else [*VARIABLES, *FUNCTIONS, *self.names]
        subject, plural = ("mask", "masks") if wanted == "mask" else ("name", "names")
        near = _nearest(name, known)
        hint = f"did you mean '{near}'? Known {plural}:" if near else f"the known {plural} are"
        return self.source.error(node, f"unknown {subject} '{name[:40]}' {{at}}: {hint} {', '.join(known)}")

    def known(self) -> set[str]:
        """Return every name that means something, whether or not it may stand here."""
        return {*VARIABLES, *FUNCTIONS, *PATTERNS, *self.names}

    @staticmethod
    def is_number(node: ast.expr) -> bool:
        """Say whether a node looks like a number."""
        match node:
            case ast.Constant(value=value):
                return isinstance(value, int | float) and not isinstance(value, bool)
            case ast.Name(id=name):
                return name in VARIABLES
            case ast.Call(func=ast.Name(id=name)):
                return name in FUNCTIONS
            case ast.BinOp(op=op):
                return type(op) in WHOLE
        return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)

    @staticmethod
    def is_mask(node: ast.expr) -> bool:
        """Say whether a node looks like a mask."""
        match node:
            case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)):
                return name in PATTERNS
            case ast.BinOp(op=op):
                return type(op) in LOGIC
            case ast.UnaryOp(op=op):
                return isinstance(op, ast.Invert | ast.Not)
        return isinstance(node, ast.Compare | ast.BoolOp)


class _BiasReader(_IndexReader):
    """Reads score biases."""

    arithmetic = WHOLE | FRACTIONAL


class _MaskReader(_IndexReader):
    """Reads masks, and the whole numbers that they compare."""

    def mask(self, node: ast.expr) -> Mask:
        """Return the mask at a node."""
        match node:
            case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)) if name in PATTERNS:
                return self.pattern(node, PATTERNS[name])
            case ast.BinOp(op=op) if type(op) in LOGIC:
                return combine(LOGIC[type(op)], (self.mask(operand) for operand in operands(node)))
            case ast.BoolOp(op=logic, values=values):
                return combine(LOGIC[type(logic)], (self.mask(value) for value in values))
            case ast.UnaryOp(op=ast.Invert() | ast.Not(), operand=operand):
                return ~self.mask(operand)
            case ast.Compare(left=left, ops=ops, comparators=rest):
                return self.comparison(node, [COMPARISONS.get(type(op), "") for op in ops], [left, *rest])
        raise self.unexpected(node, "mask")

    def number(self, node: ast.expr, value: int | float) -> Index:
        """Return a literal, which in a mask is whole."""
        if isinstance(value, float):
            raise self.source.error(node, "a mask compares whole numbers only, got {it} {at}")
        return super().number(node, value)

    def comparison(self, node: ast.Compare, symbols: list[str], parts: list[ast.expr]) -> Mask:
        """Return a chain of comparisons."""
        if "" in symbols:
            raise self.source.error(node, "{it} {at} must compare with one of < <= == != >= >")
        if bare := self.source.bare_comparison(node):
            raise bare
        numbers = tuple(self.index(part) for part in parts)
        with self.source.blaming(node):
            return Comparison(tuple(symbols), numbers)


def _nearest(name: str, known: Iterable[str]) -> str | None:
    folded = {candidate.casefold(): candidate for candidate in known}
    return next((folded[match] for match in get_close_matches(name.casefold(), folded, n=1)), None)
