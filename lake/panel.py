"""Panels: dense memory-mapped arrays of all daily bars of a snapshot, derived and rebuildable."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.canonical import canonical, parse_strict
from quantctl.lake.files import disk_faults, fsync_dir, make_dirs, temporary_name, write_synced
from quantctl.lake.matrix import Floats, ReturnsMatrix, dense, observed_returns, require_all
from quantctl.lake.reading import Source

ARRAYS = ("close", "volume", "returns", "last_observed")


@dataclass(frozen=True)
class Panel:
    """Arrays of shape [N, T] over sorted symbols and observed days, mapped read-only.

    `close`, `volume` and `returns` are float64 with NaN for no value; `last_observed` (int32) is the index
    of the newest day at or before with a close, -1 before the first.
    """

    symbols: tuple[str, ...]
    days: NDArray[np.int32]
    close: Floats
    volume: Floats
    values: Floats
    last_observed: NDArray[np.int32]

    @classmethod
    def open(cls, root: Path, snapshot: str) -> Panel | None:
        """The panel of a snapshot, or None if it was not built."""
        folder = root / "panels" / snapshot
        try:
            axes = parse_strict((folder / "axes.json").read_bytes())
        except FileNotFoundError:
            return None
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS]
        return cls(tuple(axes["symbols"]), np.array(axes["days"], dtype=np.int32), *arrays)

    @classmethod
    def build(cls, root: Path, snapshot: str, source: Source, at: datetime) -> Panel:
        """Write the panel of a snapshot; a directory appears whole, by one rename."""
        grid = dense(source, ("close", "volume"), None, None, at)
        close = grid.columns["close"]
        arrays: dict[str, NDArray[Any]] = {
            "close": close,
            "volume": grid.columns["volume"],
            "returns": observed_returns(close),
            "last_observed": _last_observed(close),
        }
        target = root / "panels" / snapshot
        temporary = temporary_name(target)
        make_dirs(temporary)
        for name, array in arrays.items():
            write_synced(temporary / f"{name}.npy", _npy(array))
        axes = {"symbols": list(grid.symbols), "days": grid.days.tolist()}
        write_synced(temporary / "axes.json", canonical(axes))
        fsync_dir(temporary)
        _install(temporary, target)
        return cls(
            grid.symbols, grid.days, close, arrays["volume"], arrays["returns"], arrays["last_observed"]
        )

    def returns(
        self, symbols: Sequence[str] | None = None, start: date | None = None, end: date | None = None
    ) -> ReturnsMatrix:
        """Returns of `symbols` from `start` to `end`; a view of the file if all symbols are wanted.

        Raises `FOUNDATION_MISSING` for a symbol without a bar.
        """
        epoch = date(1970, 1, 1)
        low = 0 if start is None else int(np.searchsorted(self.days, (start - epoch).days))
        high = len(self.days) if end is None else int(np.searchsorted(self.days, (end - epoch).days, "right"))
        if symbols is None:
            return ReturnsMatrix(
                self.symbols, self.days[low:high].astype("datetime64[D]"), self.values[:, low:high].T
            )
        names = tuple(sorted(set(symbols)))
        rows = self._rows(names)
        seen = ~np.isnan(self.close[rows, low:high]).all(axis=0)
        days = self.days[low:high][seen].astype("datetime64[D]")
        return ReturnsMatrix(names, days, self.values[rows, low:high][:, seen].T)

    def _rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        require_all(names, self.symbols)
        at = {name: i for i, name in enumerate(self.symbols)}
        return np.array([at[name] for name in names], dtype=np.int64)


def _last_observed(close: Floats) -> NDArray[np.int32]:
    index = np.where(np.isnan(close), -1, np.arange(close.shape[1], dtype=np.int32))
    return np.maximum.accumulate(index, axis=1).astype(np.int32)


def _npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _install(temporary: Path, target: Path) -> None:
    import shutil

    try:
        with disk_faults(target):
            temporary.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(temporary)  # another process built the same panel first
    fsync_dir(target.parent)
