"""Files of this machine, read no further than is allowed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mha_viz.errors import InputError


def read_bytes(path: str | os.PathLike[str], *, most: int) -> bytes:
    """Return the content of a file, or its first `most` + 1 bytes: whoever reads them refuses a larger file.

    Raises:
        InputError: The file can't be opened.
    """
    try:
        with Path(path).open("rb") as file:
            about = os.fstat(file.fileno())
            # The room for what is read is taken at once; a pipe does not say how much will come.
            return file.read(min(about.st_size if stat.S_ISREG(about.st_mode) else most, most) + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise InputError(f"{str(path)!r} cannot be opened: {(reason or 'it is no file name').lower()}.") from None
