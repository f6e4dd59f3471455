"""The members of a zip archive, unpacked only after their sizes were checked."""

from __future__ import annotations

import io
import zipfile

from mha_viz.errors import InputError

MAX_MEMBERS = 1_000

_ENCRYPTED = 0x1


def read_archive(data: bytes, *, name: str, max_bytes: int) -> dict[str, bytes]:
    """Unpack a zip archive in memory.

    The sizes that the archive declares are added up before anything is unpacked, and no member is unpacked further than
    it declares, so that a small file cannot fill the memory.

    Args:
        data: The archive.
        name: What messages call it.
        max_bytes: Most bytes that all members together may unpack to.

    Raises:
        InputError: There are too many members or bytes, two members share a name, one is encrypted or packed in a way
            other than stored or deflated, or one does not unpack to the size that it declares.
        zipfile.BadZipFile: The archive is damaged (and other errors of `zipfile` and `zlib`).
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise InputError(f"{name} holds {len(members):,} members; at most {MAX_MEMBERS:,} are read.")
        total = sum(member.file_size for member in members)
        if total > max_bytes:
            raise InputError(f"{name} unpacks to {total:,} bytes; at most {max_bytes:,} are read.")
        if len({member.filename for member in members}) < len(members):
            raise InputError(f"{name} holds two members of one name: save it again.")
        return {member.filename: _content(archive, member, name) for member in members}


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> bytes:
    if member.flag_bits & _ENCRYPTED:
        raise InputError(f"{name} is encrypted: save it without a password.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{name} is packed by another method than store or deflate: save it again.")
    with archive.open(member) as stream:
        content = stream.read(member.file_size + 1)  # a bound: read() would unpack all that a false size hides
    if len(content) != member.file_size:
        raise InputError(f"{name} holds a member that does not unpack to the size it declares: save it again.")
    return content
