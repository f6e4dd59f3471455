"""Uploaded files of this process, by digest, within a byte budget.

A Scenario names a file by its digest, so that links, caches and sessions hold no arrays. Files are not written to
disk; one that was pushed out or never uploaded here is asked for again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from mha_viz.errors import InputError
from mha_viz.inputs.upload import Upload

BUDGET = 256 * 2**20

_uploads: OrderedDict[str, Upload] = OrderedDict()
_lock = threading.Lock()


def put(upload: Upload) -> str:
    """Keep an upload and return the text that a Scenario names it by: its digest and file name."""
    reference = f"{upload.digest[:16]} {upload.name[:100]}"
    with _lock:
        _uploads[reference] = upload
        _uploads.move_to_end(reference)
        while len(_uploads) > 1 and sum(_size(u) for u in _uploads.values()) > BUDGET:
            _uploads.popitem(last=False)
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
        _uploads.move_to_end(reference)
        return _uploads[reference]


def _size(upload: Upload) -> int:
    return sum(t.numel() * t.element_size() for t in upload.tensors.values())
