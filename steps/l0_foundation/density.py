"""Rule 10: rows on which every pool column has a value, at the price of the fewest columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
SMALL_POOL = 15


@dataclass(frozen=True)
class Removal:
    """One removed column, and how many rows were dense before it went."""

    column: int
    rows_before: int


def dense_rows(
    returns: Floats, names: Sequence[str], adv: Floats, *, floor: int, target: int
) -> tuple[Mask, Mask, list[Removal]]:
    """Remove columns until enough rows are dense.

    Parameters
    ----------
    returns : (rows, columns), NaN where a column has no value
    names, adv : symbol and turnover (USD per day, NaN where unknown) of the columns
    floor : rows wanted with 15 or fewer columns (`data.min_days_floor`)
    target : rows wanted with more columns, `max(floor, retention * sessions)`

    Returns (kept rows, kept columns, removals in order). The column whose removal restores most rows
    goes first; ties by lower turnover (unknown is lowest), then larger symbol. Only columns with a
    missing value are ever removed: the others can restore nothing.
    """
    missing = ~np.isfinite(returns)
    blanks = missing.sum(axis=1)
    kept = np.ones(returns.shape[1], dtype=np.bool_)
    priority = _removal_order(names, adv)
    removals: list[Removal] = []
    while kept.any():
        rows = int((blanks == 0).sum())
        if rows >= (target if int(kept.sum()) > SMALL_POOL else floor):
            break
        column = _worst(missing, blanks, kept, priority)
        if column is None:
            break
        removals.append(Removal(column, rows))
        kept[column] = False
        blanks = blanks - missing[:, column]
    return blanks == 0, kept, removals


def _worst(missing: Mask, blanks: NDArray[np.int64], kept: Mask, priority: NDArray[np.int64]) -> int | None:
    """The column that restores most rows, then the earliest in `priority`; null if none has a blank."""
    open_columns = kept & missing.any(axis=0)
    if not open_columns.any():
        return None
    restored = np.where(open_columns, missing[blanks == 1].sum(axis=0), -1)
    best = np.flatnonzero(restored == restored.max())
    return int(best[np.argmin(priority[best])])


def _removal_order(names: Sequence[str], adv: Floats) -> NDArray[np.int64]:
    """Rank of each column: lower turnover first, then larger symbol."""
    known = np.where(np.isfinite(adv), adv, -np.inf)
    by_symbol = sorted(range(len(names)), key=lambda i: names[i], reverse=True)
    order = sorted(by_symbol, key=lambda i: known[i])
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[order] = np.arange(len(names))
    return ranks
