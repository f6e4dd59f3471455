"""Named patterns: small functions that return an expression, kept by name with their parameters.

A pattern is written in the language itself, so computing it, printing it and writing it as code need nothing new:

    @pattern(example="window(4)")
    def window(r: Annotated[int, Within(0, LONGEST, "keys seen on either side")] = 4) -> Mask:
        \"\"\"Each query sees the r keys on either side: |q - k| <= r.\"\"\"
        return abs(q - k) <= r

Calling it, in a text or in Python, gives a node that prints as `window(4)` and stands for `abs(q - k) <= 4`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter as Declared
from typing import Generic, Protocol, TypeVar

from mha_viz.errors import MaskError
from mha_viz.masks.base import Expression

E = TypeVar("E", bound=Expression)


@dataclass(frozen=True)
class Within:
    """The bounds of a parameter, both included, and what it means: the second half of its `Annotated` type."""

    low: int | float
    high: int | float
    help: str


@dataclass(frozen=True)
class Parameter:
    """One parameter of a pattern.

    Attributes:
        name: As in the function.
        kind: `int` or `float`.
        low: The smallest value allowed.
        high: The largest value allowed.
        help: What it means.
        default: The value when it is left out; None where it takes one or more values, as `document(3, 4, 2)` does.
    """

    name: str
    kind: type[int] | type[float]
    low: int | float
    high: int | float
    help: str
    default: int | float | None

    @property
    def repeats(self) -> bool:
        """Whether it takes one or more values."""
        return self.default is None

    def checked(self, value: int | float) -> int | float:
        """Return the value as this parameter's kind; raise `MaskError` if it is of the wrong kind or out of bounds."""
        whole = "a whole number " if self.kind is int else ""
        if (self.kind is int and not isinstance(value, int)) or not self.low <= value <= self.high:
            raise MaskError(f"{self.name} must be {whole}from {self.low} to {self.high}, got {value}")
        return self.kind(value)

    def __str__(self) -> str:
        return f"*{self.name}" if self.repeats else f"{self.name}={self.default}"


class NodeFactory(Protocol[E]):
    """Something that makes the node of a named pattern: `NamedMask` or `NamedIndex`."""

    def __call__(self, name: str, arguments: tuple[int | float, ...], definition: E, /) -> E:
        """Return the node."""


@dataclass(frozen=True)
class Pattern(Generic[E]):
    """A named pattern; calling it with numbers gives its node.

    Attributes:
        name: As it is written in a text.
        parameters: In order; the last may take one or more values.
        doc: What it does, and where it comes from.
        example: A text that uses it, such as `window(4)`.
        function: Returns the expression that the name stands for.
        node: Makes the named node.
    """

    name: str
    parameters: tuple[Parameter, ...]
    doc: str
    example: str
    function: Callable[..., E]
    node: NodeFactory[E]

    @property
    def summary(self) -> str:
        """The first line of the documentation."""
        return self.doc.partition("\n")[0]

    @property
    def usage(self) -> str:
        """The name with its parameters: `window(r=4)`, `document(*lengths)`, `causal`."""
        return f"{self.name}({', '.join(map(str, self.parameters))})" if self.parameters else self.name

    def __call__(self, *arguments: int | float, **keywords: int | float) -> E:
        """Return the node for these arguments, which it keeps as they were given: `window` and `window(4)` differ.

        Arguments given by keyword become positions, and bring the defaults before them along.

        Raises:
            MaskError: The arguments are too many, too few, unknown, of the wrong kind or out of bounds.
        """
        try:
            values = self._values(arguments, keywords)
        except (MaskError, TypeError) as error:
            raise MaskError(f"wrong arguments for {self.usage}: {error}") from None
        return self.node(self.name, values, self.function(*values))

    def _values(self, arguments: tuple[int | float, ...], keywords: dict[str, int | float]) -> tuple[int | float, ...]:
        bound = inspect.signature(self.function).bind(*arguments, **keywords)
        if keywords:
            bound.apply_defaults()
        parameters = self.parameters
        if parameters and parameters[-1].repeats:
            if not arguments:
                raise MaskError(f"it needs at least one number, as in {self.example}")
            parameters *= len(arguments)
        return tuple(parameter.checked(value) for parameter, value in zip(parameters, bound.args, strict=False))


def registrar(
    registry: dict[str, Pattern[E]], node: NodeFactory[E]
) -> Callable[..., Callable[[Callable[..., E]], Pattern[E]]]:
    """Return the decorator `pattern(example=...)`, which turns a function into a `Pattern` and files it by name."""

    def pattern(*, example: str) -> Callable[[Callable[..., E]], Pattern[E]]:
        def register(function: Callable[..., E]) -> Pattern[E]:
            doc = inspect.getdoc(function) or ""
            name = function.__name__
            registry[name] = Pattern(name, _parameters(function), doc, example, function, node)
            return registry[name]

        return register

    return pattern


def _parameters(function: Callable[..., object]) -> tuple[Parameter, ...]:
    hints = typing.get_type_hints(function, include_extras=True)
    found = []
    for name, declared in inspect.signature(function).parameters.items():
        kind, bounds = typing.get_args(hints[name])
        default = None if declared.kind is Declared.VAR_POSITIONAL else declared.default
        found.append(Parameter(name, kind, bounds.low, bounds.high, bounds.help, default))
    return tuple(found)
