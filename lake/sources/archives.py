"""Kline archives: a zip with one CSV, checked against its checksum file and against hostile contents."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path, PurePosixPath

from quantctl.contracts.canonical import sha256_hex
from quantctl.contracts.errors import DataUnhealthy

MAX_EXPANDED = 2 * 2**30


def unpack(path: Path, data: bytes) -> bytes:
    """The CSV inside a kline archive.

    A `.CHECKSUM` file beside it must hold its sha256 (`IMPORT_CHECKSUM`). Absolute paths, `..`, links,
    more than one member or more than 2 GiB expanded are `IMPORT_ARCHIVE_UNSAFE`.
    """
    _check_sum(path, data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = _member(path, archive)
            with archive.open(member) as stream:
                text = stream.read(MAX_EXPANDED + 1)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as problem:
        raise _unsafe(path, f"it is no readable zip: {problem}") from None
    if len(text) > MAX_EXPANDED:
        raise _unsafe(path, "it expands beyond 2 GiB")
    return text


def _check_sum(path: Path, data: bytes) -> None:
    beside = path.with_name(path.name + ".CHECKSUM")
    if not beside.is_file():
        return
    found = re.search(r"\b[0-9a-fA-F]{64}\b", beside.read_text(errors="replace"))
    if found is None or found.group().lower() != sha256_hex(data):
        raise DataUnhealthy(
            "IMPORT_CHECKSUM", f"{path.name} does not have the sha256 of {beside.name}", where=str(path),
            remedy="download the archive again",
        )  # fmt: skip


def _member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [info for info in archive.infolist() if not info.is_dir()]
    for info in members:
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
            raise _unsafe(path, f"it holds the path {info.filename!r}")
        if (info.external_attr >> 16) & 0o170000 == 0o120000:
            raise _unsafe(path, f"{info.filename!r} is a link")
    if len(members) != 1:
        raise _unsafe(path, f"it holds {len(members)} files instead of one CSV")
    if members[0].file_size > MAX_EXPANDED:
        raise _unsafe(path, "it expands beyond 2 GiB")
    return members[0]


def _unsafe(path: Path, why: str) -> DataUnhealthy:
    return DataUnhealthy("IMPORT_ARCHIVE_UNSAFE", f"{path.name} is refused: {why}", where=str(path))
