"""Ctrl-C and SIGTERM: the first lets the current stage finish, the second leaves at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType


def stop_on_signal(run_id: str | None = None) -> threading.Event:
    """An event that the first SIGINT or SIGTERM sets; the second exits with 5 on the spot."""
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            sys.stdout.write("\ninterrupted; nothing lost\n")
            if run_id:
                sys.stdout.write(f"resume: quantctl resume {run_id}\n")
            sys.stdout.flush()
            os._exit(5)
        stop.set()
        sys.stderr.write("\nstopping after the current stage; once more to stop at once\n")

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    return stop
