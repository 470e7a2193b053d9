"""pandera with its Polars side only.

Where pandas is installed (trading calendars need it) pandera loads it along, and hypothesis too, though its
checks of Polars frames use neither: 0.3 s of CPU in every process that runs a stage. It is written to do
without them, so while it is loaded here they are not found; one that is loaded already stays.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import polars as pl  # before anything is hidden: it notes at its import what is installed


class _Hidden:
    """A finder by which some packages are not installed, for this thread."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._thread = threading.get_ident()

    def find_spec(self, name: str, *_: object) -> None:
        """Nothing, or the error of a missing package."""
        if name in self._names and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@contextmanager
def _without(*names: str) -> Iterator[None]:
    hidden = _Hidden(names)
    sys.meta_path.insert(0, hidden)
    try:
        yield
    finally:
        sys.meta_path.remove(hidden)


def load() -> None:
    """Load `pandera.polars` and what it would load at the first check, when nothing is hidden any more."""
    with _without("pandas", "hypothesis"):
        importlib.import_module("pandera.polars")
        from pandera.backends.register_checks import register_default_check_backends

        register_default_check_backends(pl.LazyFrame)
