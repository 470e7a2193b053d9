"""The shared cache of null tables: built once per machine and n, handed to kernels as an argument."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quantctl.lake.files import write_atomic
from quantctl.steps.l2_selection.null_tables import NullTables

FOLDER = "nulls"


class NullFiles:
    """Null tables as `.npy` files named by their content key; a damaged one is built anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: str) -> NDArray[np.float64] | None:
        """The values kept under `key`, or null where there are none that can be read."""
        try:
            data = (self._folder / f"{key}.npy").read_bytes()
            values: NDArray[np.float64] = np.load(io.BytesIO(data), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return values

    def save(self, key: str, values: NDArray[np.float64]) -> None:
        """Keep `values` under `key`, whole or not at all."""
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        write_atomic(self._folder / f"{key}.npy", buffer.getvalue())


def tables(cache_dir: Path) -> NullTables:
    """Null tables backed by `data/cache/nulls/`."""
    return NullTables(NullFiles(cache_dir / FOLDER))
