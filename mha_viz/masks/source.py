"""The text that somebody typed: what is checked before it is read, and how errors point into it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from mha_viz.errors import MaskError

MAX_CHARS = 4000
MAX_NESTING = 60
OUTSIDE = re.compile(r"[^A-Za-z0-9_ \t\r\n.,()+\-*/%<>=!&|^~]")
COMPARING = re.compile(r"[<>=!]=?")
CHAINED = (ast.BitAnd, ast.BitOr, ast.BitXor)


@dataclass(frozen=True)
class Source:
    """A text on one line, `offset` characters into what was typed. All of it is ASCII, so columns are characters."""

    text: str
    offset: int

    def position(self, node: ast.expr) -> int:
        """Return the index of the node's first character in what was typed."""
        return node.col_offset + self.offset

    def quote(self, node: ast.expr) -> str:
        """Return the node's text in quotes, shortened."""
        text = self.text[node.col_offset : node.end_col_offset]
        return f"'{text}'" if len(text) <= 40 else f"'{text[:37]}...'"

    def error(self, node: ast.expr, message: str) -> MaskError:
        """Return an error for the node; `{at}` in the message becomes its position and `{it}` its text."""
        position = self.position(node)
        return MaskError(message.format(at=f"at position {position}", it=self.quote(node)), position=position)

    @contextmanager
    def blaming(self, node: ast.expr) -> Iterator[None]:
        """Add the node's position to a `MaskError` raised inside."""
        try:
            yield
        except MaskError as error:
            raise self.error(node, f"{error} ({{at}})") from None

    def bare_comparison(self, node: ast.Compare) -> MaskError | None:
        """Return an error that shows the missing parentheses if a comparison stands bare beside `& | ^ ~`.

        Python reads `q < 3 & k == 0` as `q < (3 & k) == 0`, which nobody means.
        """
        start, end = node.col_offset, node.end_col_offset
        text = self.text[start:end]
        joints = [i for i in _outside_brackets(text) if text[i] in "&|^"]
        cuts = [-1, *joints, len(text)]
        parts = [text[i + 1 : j].strip() for i, j in pairwise(cuts)]
        written = [_in_parentheses(part) for part in parts]
        if not joints and written == [f"({text})"]:
            return None
        symbols = [f" {text[i]} " for i in joints]
        suggestion = "".join(part + symbol for part, symbol in zip(written, [*symbols, ""], strict=True))
        position = start + self.offset + (joints[0] if joints else 0)
        symbol = text[joints[0]] if joints else "~"
        return MaskError(
            f"a comparison beside '{symbol}' needs its own parentheses at position {position}: write '{suggestion}'",
            position=position,
        )


def parse(text: str, subject: str) -> tuple[Source, ast.expr]:
    """Return the text and its syntax tree, having checked what a reader should not have to: size, characters, depth.

    Args:
        text: What was typed.
        subject: What it should be, for the messages: "mask" or "score bias".

    Raises:
        MaskError: It is empty, too long or too deep, or no expression at all.
    """
    if not isinstance(text, str):
        raise MaskError(f"a {subject} must be a text, not {text!r}")
    if len(text) > MAX_CHARS:
        raise MaskError(f"a {subject} must have at most {MAX_CHARS} characters, got {len(text)}")
    if not text.strip():
        raise MaskError(f"a {subject} must not be empty", position=0)
    if found := OUTSIDE.search(text):
        position = found.start()
        raise MaskError(f"{found.group()!r} at position {position} has no place in a {subject}", position=position)
    _check_brackets(text)
    source = Source(re.sub(r"\s", " ", text).strip(), len(text) - len(text.lstrip()))
    try:
        tree = ast.parse(source.text, mode="eval").body
    except SyntaxError as error:
        # Python gives no place, or one behind the end, where the text stops too early.
        column = error.offset - 1 if error.offset else len(source.text)
        position = source.offset + min(column, len(source.text))
        raise MaskError(
            f"the {subject} cannot be read at position {position}: "
            "a name, a number, an operator or a bracket is missing or misplaced",
            position=position,
        ) from None
    except (RecursionError, MemoryError):
        raise _too_deep(subject) from None
    _check_nesting(tree, subject)
    return source, tree


def operands(node: ast.BinOp) -> list[ast.expr]:
    """Return the parts of a chain such as `a & b & c`, in order, without recursion and however it is grouped."""
    parts: list[ast.expr] = []
    waiting: list[ast.expr] = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.BinOp) and type(part.op) is type(node.op):
            waiting += [part.right, part.left]
        else:
            parts.append(part)
    return parts


def _check_brackets(text: str) -> None:
    opened: list[int] = []
    for position, character in enumerate(text):
        if character == "(":
            opened.append(position)
        elif character == ")":
            if not opened:
                raise MaskError(f"the ')' at position {position} closes nothing", position=position)
            opened.pop()
    if opened:
        raise MaskError(f"the '(' at position {opened[-1]} is never closed", position=opened[-1])


def _check_nesting(tree: ast.expr, subject: str) -> None:
    level: list[ast.AST] = [tree]
    for _ in range(MAX_NESTING):
        level = [part for node in level for part in _parts(node)]
        if not level:
            return
    raise _too_deep(subject)


def _parts(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, CHAINED):
        return operands(node)
    return [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]


def _too_deep(subject: str) -> MaskError:
    return MaskError(f"a {subject} must be nested at most {MAX_NESTING} levels deep: use fewer brackets or operators")


def _outside_brackets(text: str) -> Iterator[int]:
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            yield position


def _in_parentheses(part: str) -> str:
    """Return a mask with parentheses around it if it is a bare comparison, inside any `~` before it."""
    inner = part.lstrip("~ ")
    bare = any(COMPARING.match(inner[i]) for i in _outside_brackets(inner))
    return f"{part[: len(part) - len(inner)]}({inner})" if bare else part
