"""Running out of memory is one sentence on one visitor's page, and the server goes on for the others."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mha_viz.errors import CapacityError

_OUT_OF_MEMORY = re.compile(r"not enough memory|out of memory|can't allocate|cannot allocate|insufficient memory", re.I)


@contextmanager
def memory() -> Iterator[None]:
    """Turn whatever the block raises for want of memory into a CapacityError; any other error stays as it is.

    Torch has a class of its own for accelerators alone: on the CPU it raises a RuntimeError that says so.

    Raises:
        CapacityError: The memory of the server or of its device ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that were in the way
        where = "device" if isinstance(error, torch.OutOfMemoryError) else "server"
    else:
        return
    if where == "device" and torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise CapacityError(
        f"The {where} ran out of memory during this computation, which was dropped: reduce query_len, num_heads or "
        "batch_size, or try again when fewer people are here.",
        field="query_len",
    ) from None
