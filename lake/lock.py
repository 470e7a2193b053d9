"""The worker lock: whoever holds it is the one process that executes runs."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from quantctl.lake.fault_points import reach
from quantctl.lake.files import disk_faults


class WorkerLock:
    """An exclusive advisory lock on `data/state/worker.lock`; the file's text names the holder.

    The operating system drops it when the process dies, so there is nothing to clean up.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, worker: str, *, patience: float = 0.05) -> bool:
        """Try for `patience` seconds to become the holder; a look from a reader lasts less.

        Raises `DiskFault` (`DISK_READ_ONLY`, `DISK_FULL`) where the file cannot be made.
        """
        with disk_faults(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    return False
                time.sleep(0.005)
        reach("lock.taken")
        with disk_faults(self.path):
            name = worker.encode()
            os.pwrite(descriptor, name, 0)
            os.ftruncate(descriptor, len(name))
        reach("lock.named")
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Stop being the holder."""
        if self._descriptor is not None:
            reach("lock.leaving")
            os.close(self._descriptor)
            self._descriptor = None


def holder(path: Path) -> str | None:
    """Name of the live worker, or null when nobody holds the lock. `DiskFault` where that is hidden."""
    with disk_faults(path):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return os.pread(descriptor, 256, 0).decode() or "worker"
    finally:
        os.close(descriptor)
