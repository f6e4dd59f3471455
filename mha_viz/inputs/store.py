"""Uploaded files of this process, by digest, within a byte budget.

A Scenario names a file by its digest, so that links, caches and sessions hold no arrays. Files are not written to
disk; one that was pushed out or never uploaded here is asked for again.
"""

from __future__ import annotations

import threading

import cachetools

from mha_viz.errors import InputError
from mha_viz.inputs.upload import Upload

BUDGET = 256 * 2**20


def _size(upload: Upload) -> int:
    return sum(tensor.nbytes for tensor in upload.tensors.values())


_uploads: cachetools.LRUCache[str, Upload] = cachetools.LRUCache(BUDGET, getsizeof=_size)
_lock = threading.Lock()


def put(upload: Upload) -> str:
    """Keep an upload and return the text that a Scenario names it by: its digest and file name."""
    reference = f"{upload.digest[:16]} {upload.name[:100]}"
    with _lock:
        _uploads[reference] = upload
    return reference


def get(reference: str) -> Upload:
    """Return the upload that `put` kept under `reference`.

    Raises:
        InputError: It is not on this server (any more).
    """
    with _lock:
        if reference not in _uploads:
            name = (reference.partition(" ")[2] or reference)[:100]
            raise InputError(f"The file {name!r} is not on this server any more: upload it again.")
        return _uploads[reference]
