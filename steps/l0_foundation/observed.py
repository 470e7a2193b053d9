"""Closes and returns as observed: scattered on (day, symbol), with NaN where there is no bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.errors import ContractError
from quantctl.steps.l0_foundation.calendar_days import Mask, day_offsets, session_masks

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Observed:
    """Bars of `symbols` (sorted) on consecutive days from `first`.

    closes, returns : (days, symbols), NaN where nothing was observed
    masks : calendar code -> session days; calendars : code of each symbol
    bars, off_calendar, invalid : per symbol, counts of visible bars, of those on no session, and of
        those whose close is null, not finite or not positive
    """

    symbols: list[str]
    first: date
    closes: Floats
    returns: Floats
    calendars: list[str]
    masks: dict[str, Mask]
    bars: NDArray[np.int64]
    off_calendar: NDArray[np.int64]
    invalid: NDArray[np.int64]


def observe(
    bars: pl.DataFrame, sessions: pl.DataFrame, calendars: Mapping[str, str], as_of: date
) -> Observed:
    """Scatter the bars of `calendars` (symbol -> code) up to `as_of`.

    Bars on no session of their calendar are counted and removed. A return goes to the previous
    observed close of its symbol, however many sessions ago that was; nothing is filled.
    Raises `L0_DUPLICATE` (exit 3) where a symbol has two bars of one date.
    """
    symbols = sorted(calendars)
    codes = [calendars[symbol] for symbol in symbols]
    seen = _visible(bars, symbols, as_of)
    first = cast("date", seen["date"].min()) if seen.height else as_of
    last = cast("date", seen["date"].max()) if seen.height else as_of
    masks = session_masks(codes if seen.height else (), sessions, first, last)
    ids, days = seen["id"].to_numpy().astype(np.int64), day_offsets(seen["date"], first)
    on = _on_session(ids, days, codes, masks)
    close = seen["close"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    good = np.isfinite(close) & (close > 0)
    shape = ((last - first).days + 1, len(symbols))
    count = len(symbols)
    keep = on & good
    closes, returns = _scatter(ids[keep], days[keep], close[keep], shape)
    return Observed(
        symbols, first, closes, returns, codes, masks,
        np.bincount(ids, minlength=count), np.bincount(ids[~on], minlength=count),
        np.bincount(ids[on & ~good], minlength=count),
    )  # fmt: skip


def _visible(bars: pl.DataFrame, symbols: Sequence[str], as_of: date) -> pl.DataFrame:
    ids = pl.DataFrame({"symbol": symbols, "id": range(len(symbols))}, {"symbol": pl.String, "id": pl.Int64})
    seen = bars.select("symbol", "date", "close").filter(pl.col("date") <= as_of)
    seen = seen.join(ids, on="symbol").sort("id", "date")
    twice = (pl.col("id") == pl.col("id").shift(1)) & (pl.col("date") == pl.col("date").shift(1))
    repeated = seen.filter(twice)
    if repeated.height:
        row = repeated.row(0, named=True)
        raise ContractError(
            "L0_DUPLICATE", f"{repeated.height} bars stand twice",
            where=f"bars_1d:{row['symbol']}:{row['date']}", remedy="quantctl lake verify",
        )  # fmt: skip
    return seen


def _on_session(
    ids: NDArray[np.int64], days: NDArray[np.int64], codes: Sequence[str], masks: Mapping[str, Mask]
) -> Mask:
    if not ids.size:
        return np.zeros(0, dtype=np.bool_)
    order = sorted(masks)
    stacked = np.vstack([masks[code] for code in order])
    on: Mask = stacked[np.array([order.index(code) for code in codes])[ids], days]
    return on


def _scatter(
    ids: NDArray[np.int64], days: NDArray[np.int64], close: Floats, shape: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Rows come sorted by (symbol, day): the row before is the previous observed close."""
    closes, returns = np.full(shape, np.nan), np.full(shape, np.nan)
    closes[days, ids] = close
    same = ids[1:] == ids[:-1]
    returns[days[1:][same], ids[1:][same]] = close[1:][same] / close[:-1][same] - 1.0
    return closes, returns
