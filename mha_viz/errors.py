"""Everything this package raises on purpose, as one tree.

    MhaVizError
    ├── ScenarioError    a setting is out of bounds, or two settings do not fit each other
    ├── MaskError        a mask or score bias cannot be read, or does not fit the shapes
    ├── InputError       a tensor, table or uploaded file cannot be read, or does not fit the layer
    ├── CapacityError    the run would need more memory than the limit
    └── DeviceError      the device is not there, or cannot do what was asked

Each message is one sentence: subject, rule, what was given, what is allowed.
"""

from __future__ import annotations


class MhaVizError(ValueError):
    """Base of every error this package raises on purpose.

    Attributes:
        field: The setting to look at, as `Scenario` names it; empty when there is no single one.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ScenarioError(MhaVizError):
    """A setting is out of bounds, or two settings do not fit each other."""


class MaskError(MhaVizError):
    """A mask or score bias cannot be read, or does not fit the shapes.

    Attributes:
        position: Index of the first wrong character of the text, if it is known.
    """

    def __init__(self, message: str, *, position: int | None = None, field: str = "") -> None:
        super().__init__(message, field=field)
        self.position = position


class InputError(MhaVizError):
    """A tensor, table or uploaded file cannot be read, or does not fit the layer."""


class CapacityError(MhaVizError):
    """The run would need more memory than the limit; raised before anything is allocated."""


class DeviceError(MhaVizError):
    """The device is not there, or cannot do what was asked."""


class CaptureWarning(UserWarning):
    """A capture leaves something out that it was asked for."""
