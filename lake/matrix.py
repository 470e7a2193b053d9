"""Dense matrices of daily bars by scatter on (symbol, day) integers, and returns from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.errors import DataMissing
from quantctl.lake.reading import Source, Want, frames_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ReturnsMatrix:
    """Simple returns.

    Attributes
    ----------
    symbols : N names, sorted
    dates : [T] days (`datetime64[D]`) on which at least one of the symbols has a bar
    values : [T, N] float64, contiguous by symbol; NaN where the symbol has no bar or no earlier one
    """

    symbols: tuple[str, ...]
    dates: NDArray[np.datetime64]
    values: Floats

    def frame(self) -> pl.DataFrame:
        """`date` and one float64 column per symbol, null where undefined."""
        columns = {name: self.values[:, i] for i, name in enumerate(self.symbols)}
        return pl.DataFrame({"date": self.dates, **columns}, nan_to_null=True)


@dataclass(frozen=True)
class Dense:
    """Columns of daily bars over (symbol, day), NaN where there is no bar: each array is [N, T]."""

    symbols: tuple[str, ...]
    days: NDArray[np.int32]
    columns: dict[str, Floats]

    def returns(self, start: date | None) -> ReturnsMatrix:
        """Returns of `close` from `start`, each to the previous observed close, however long ago."""
        values = observed_returns(self.columns["close"])
        first = 0 if start is None else int(np.searchsorted(self.days, _day(start)))
        dates = self.days[first:].astype("datetime64[D]")
        return ReturnsMatrix(self.symbols, dates, values[:, first:].T)


def _day(value: date) -> int:
    return (value - date(1970, 1, 1)).days


def observed_returns(closes: Floats) -> Floats:
    """[N, T] returns of [N, T] closes: close over the last non-NaN close of the row before it, minus 1."""
    seen = ~np.isnan(closes)
    counts = seen.sum(axis=1)
    flat = closes[seen]
    change = np.full(flat.size, np.nan)
    np.divide(flat[1:], flat[:-1], out=change[1:])
    change[1:] -= 1.0
    starts = (np.cumsum(counts) - counts)[counts > 0]
    change[starts] = np.nan
    values = np.full(closes.shape, np.nan)
    values[seen] = change
    return values


def dense(
    source: Source, columns: Sequence[str], symbols: Sequence[str] | None, end: date | None, at: datetime
) -> Dense:
    """Scatter `columns` of the visible bars up to `end` into [N, T] arrays.

    Parts are written in commit order, so the last visible version of a bar stays. T counts the days on
    which any of the symbols has a bar. Raises `FOUNDATION_MISSING` if a named symbol has no visible bar.
    """
    names = None if symbols is None else tuple(sorted(set(symbols)))
    want = Want(at=at, symbols=names, end=end)
    frames = [frame for _, frame in frames_of(source, want, ["symbol", "date", *columns])]
    runs = [frame.get_column("symbol").rle().struct.unnest() for frame in frames]
    found = sorted(set().union(*(run.get_column("value").to_list() for run in runs)))
    require_all(names or (), found)
    if not frames:
        return Dense((), np.empty(0, np.int32), {c: np.empty((0, 0)) for c in columns})
    days = [frame.get_column("date").to_physical().to_numpy() for frame in frames]
    low, high = min(int(d.min()) for d in days), max(int(d.max()) for d in days)
    width = high - low + 1
    ids = {name: i for i, name in enumerate(found)}
    places = [_places(run, day - low, ids, width) for run, day in zip(runs, days, strict=True)]
    present = np.zeros(width, dtype=bool)
    for day in days:
        present[day - low] = True
    kept = np.flatnonzero(present)
    grids = {c: _scatter(frames, places, c, (len(found), width), kept) for c in columns}
    return Dense(tuple(found), (kept + low).astype(np.int32), grids)


def _places(run: pl.DataFrame, day: NDArray[np.int32], ids: dict[str, int], width: int) -> NDArray[np.int64]:
    rows = np.array([ids[name] for name in run.get_column("value").to_list()], dtype=np.int64) * width
    return np.repeat(rows, run.get_column("len").to_numpy()) + day


def _scatter(
    frames: list[pl.DataFrame],
    places: list[NDArray[np.int64]],
    column: str,
    shape: tuple[int, int],
    kept: NDArray[np.int64],
) -> Floats:
    grid = np.full(shape, np.nan)
    flat = grid.reshape(-1)
    for frame, place in zip(frames, places, strict=True):
        flat[place] = frame.get_column(column).to_numpy()
    return grid if kept.size == shape[1] else np.ascontiguousarray(grid[:, kept])


def require_all(wanted: Sequence[str], found: Sequence[str]) -> None:
    """Raise `FOUNDATION_MISSING` (exit 3) with the symbols of `wanted` that have no visible bar."""
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise DataMissing(
            "FOUNDATION_MISSING",
            f"{len(missing)} of {len(wanted)} symbols have no visible bar",
            where=missing[0],
            remedy="quantctl data import, or leave them out",
            details={"symbols": missing},
        )
