"""What an Alpha stage may not do: open a connection, or write to the lakehouse.

One audit hook of the interpreter sees every connect and every opening of a file for writing, whatever
library does it; it is inert outside a guarded stage and for other threads.
"""

from __future__ import annotations

import contextvars
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantctl.contracts.errors import BoundaryViolation

_guard: contextvars.ContextVar[tuple[str, str] | None] = contextvars.ContextVar("guard", default=None)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_hooked = False


@contextmanager
def alpha_only(stage: str, lakehouse: Path) -> Iterator[None]:
    """Inside, a connect is `NETWORK_FORBIDDEN` (exit 1), a write to the lakehouse `ALPHA_READ_ONLY` (70)."""
    global _hooked
    if not _hooked:
        sys.addaudithook(_watch)
        _hooked = True
    token = _guard.set((stage, str(lakehouse.resolve()) + os.sep))
    try:
        yield
    finally:
        _guard.reset(token)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in ("open", "socket.connect", "os.rename", "os.link"):
        return
    guarded = _guard.get()
    if guarded is None:
        return
    stage, lakehouse = guarded
    if event == "socket.connect":
        raise BoundaryViolation(
            "NETWORK_FORBIDDEN", f"stage {stage} tried to connect to {arguments[1]!r}", where=stage,
            remedy="data enters through quantctl data ... first",
        )  # fmt: skip
    target = arguments[1] if event != "open" else arguments[0]
    writing = event != "open" or bool((arguments[2] or 0) & _WRITING)
    if (
        writing
        and isinstance(target, (str, os.PathLike))
        and str(Path(target).absolute()).startswith(lakehouse)
    ):
        raise BoundaryViolation(
            "ALPHA_READ_ONLY", f"stage {stage} tried to write {target}", where=stage,
            remedy="only DataOps writes the lake; please report this",
        )  # fmt: skip
