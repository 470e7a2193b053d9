"""The shared cache of null tables: built once per machine and n, handed to kernels as an argument."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quantctl.lake.files import make_dirs, write_atomic
from quantctl.steps.l2_selection.null_tables import NullTables


class NullFiles:
    """One `.npy` file per table below `root`; an unreadable file counts as absent and is replaced."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def load(self, key: str) -> NDArray[np.float64] | None:
        """The values kept under `key`, or null."""
        try:
            values: NDArray[np.float64] = np.load(self._path(key), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return values

    def save(self, key: str, values: NDArray[np.float64]) -> None:
        """Keep `values` under `key`; two writers of one key write the same bytes."""
        stream = io.BytesIO()
        np.save(stream, values, allow_pickle=False)
        make_dirs(self._root)
        write_atomic(self._path(key), stream.getvalue())

    def _path(self, key: str) -> Path:
        return self._root / f"{key}.npy"


def tables(cache_dir: Path) -> NullTables:
    """Null tables backed by `nulls/` below the cache directory."""
    return NullTables(NullFiles(cache_dir / "nulls"))
