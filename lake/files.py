"""Durable files: whole or absent after a kill or a power cut, and machine faults as `DiskFault`."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from quantctl.contracts.errors import DiskFault
from quantctl.lake.fault_points import reach

_CODES = {
    errno.ENOSPC: "DISK_FULL",
    errno.EDQUOT: "DISK_FULL",
    errno.EROFS: "DISK_READ_ONLY",
    errno.EACCES: "DISK_READ_ONLY",
    errno.EIO: "DISK_IO",
}
_REMEDIES = {
    "DISK_FULL": "free space, then quantctl resume",
    "DISK_READ_ONLY": "mount the directory writable, then quantctl resume",
    "DISK_IO": "check the disk, then quantctl resume",
}
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)  # then a file is copied
_BLOCK = 1 << 20
_serial = count()


def fault_of(problem: OSError, path: Path, needed: int = 0) -> DiskFault | None:
    """The `DiskFault` (`DISK_FULL`, `DISK_READ_ONLY`, `DISK_IO`) an OS error stands for, else None.

    `needed` is the number of bytes the caller was about to write.
    """
    code = _CODES.get(problem.errno or 0)
    if code is None:
        return None
    asked = f", {needed} bytes needed" if needed else ""
    return DiskFault(code, f"{problem.strerror}{asked}", where=str(path), remedy=_REMEDIES[code])


@contextmanager
def disk_faults(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn the operating system's disk errors inside the block into `DiskFault`; others pass."""
    try:
        yield
    except OSError as problem:
        fault = fault_of(problem, path, needed)
        if fault is None:
            raise
        raise fault from problem


def free_bytes(path: Path) -> int:
    """Bytes free for us on the file system that holds `path` (or its nearest existing parent)."""
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    state = os.statvfs(place)
    return state.f_bavail * state.f_frsize


def require_space(path: Path, needed: int) -> None:
    """Raise `DISK_FULL` unless `needed` bytes are free where `path` lies."""
    free = free_bytes(path)
    if free < needed:
        raise DiskFault(
            "DISK_FULL",
            f"{needed} bytes needed, {free} free",
            where=str(path),
            remedy=_REMEDIES["DISK_FULL"],
        )


def fsync_dir(path: Path) -> None:
    """Make the names inside directory `path` durable; raises `DiskFault`."""
    with disk_faults(path):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    reach("directory.synced")


def make_dirs(path: Path) -> None:
    """Create directory `path` with its parents, each new name durable; raises `DiskFault`."""
    if path.is_dir():
        return
    make_dirs(path.parent)
    with disk_faults(path):
        path.mkdir(exist_ok=True)
    reach("directory.made")
    fsync_dir(path.parent)


def temporary_name(path: Path) -> Path:
    """A name beside `path` that no other process or thread uses; starts with `.tmp-`."""
    writer = f"{os.getpid()}.{_started(os.getpid()) or 0}"
    return path.with_name(f".tmp-{path.name}-{writer}-{threading.get_ident()}-{next(_serial)}")


def temporaries(root: Path) -> list[Path]:
    """Files and links below `root` that bear a temporary name, sorted."""
    return sorted(path for path in root.rglob(".tmp-*") if path.is_symlink() or path.is_file())


def abandoned(temporary: Path) -> bool:
    """Whether the process that a temporary name tells of is gone; false where that cannot be told.

    A process is known by its number and the time it started: a number may be in use again, and in
    containers every worker may be number 1. One that is dead and not waited for yet is gone too.
    """
    writer = temporary.name.rsplit("-", 3)[1:2]
    number, _, start = writer[0].partition(".") if writer else ("", "", "")
    if not (number.isdigit() and start.isdigit()):
        return False
    if start == "0":  # the system does not tell when a process started
        return not _exists(int(number))
    return _started(int(number)) != int(start)


def _started(process: int) -> int | None:
    """When a living process started, in ticks since the machine did; null for a dead one, or if unknown."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(fields[18])


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and fsync its content (not its name); raises `DiskFault`."""
    with disk_faults(path, len(data)):
        reach("write.begin")
        with path.open("wb") as stream:
            stream.write(data)
            stream.flush()
            reach("write.written")
            os.fsync(stream.fileno())
        reach("write.synced")


def write_atomic(path: Path, data: bytes) -> None:
    """Put `data` at `path`, whole or not at all, durable on return.

    Temporary name, write, fsync, rename, fsync of the directory. A file that already holds equal bytes is
    left alone (its name is synced, for the writer may have died before doing so). Raises `DiskFault`.
    """
    if _holds(path, data):
        fsync_dir(path.parent)
        return
    make_dirs(path.parent)
    rename_synced([(data, path)])
    fsync_dir(path.parent)


def link_verified(source: Path, target: Path, sha256: str) -> int:
    """Give the file `source`, which has `sha256`, a second name; on another file system copy it.

    Whole or not at all, durable on return; a target that has the bytes already is left alone. Returns
    the number of bytes. Raises `DiskFault`.
    """
    with disk_faults(target):
        if not (target.is_file() and sha256_file(target) == sha256):
            make_dirs(target.parent)
            temporary = temporary_name(target)
            try:
                os.link(source, temporary)
            except OSError as problem:
                if problem.errno not in _NO_LINK:
                    raise
                write_synced(temporary, source.read_bytes())
            temporary.replace(target)
        fsync_dir(target.parent)
        return target.stat().st_size


def rename_synced(files: Iterable[tuple[bytes, Path]]) -> None:
    """Write each file under a temporary name, fsync, rename; the caller syncs the directories once."""
    for data, path in files:
        temporary = temporary_name(path)
        try:
            write_synced(temporary, data)
            with disk_faults(path):
                temporary.replace(path)
                reach("write.renamed")
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _holds(path: Path, data: bytes) -> bool:
    try:
        if path.stat().st_size != len(data):
            return False
        return path.read_bytes() == data
    except (FileNotFoundError, NotADirectoryError):
        return False


def sha256_file(path: Path) -> str:
    """Lower-case hex sha256 of the bytes at `path`; raises `FileNotFoundError`, `DiskFault`."""
    digest = hashlib.sha256()
    with disk_faults(path), path.open("rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
