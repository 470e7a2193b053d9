"""Columns that are one asset under two names: raw correlation close to 1 over common rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MIN_COMMON = 120


@dataclass(frozen=True)
class Duplicate:
    """A column that another stands for. `correlation` is its largest with a member of its group."""

    column: int
    representative: int
    correlation: float


def duplicates(returns: Floats, names: Sequence[str], adv: Floats, limit: float) -> list[Duplicate]:
    """Columns to give up, by column index.

    Columns connected by correlations > `limit` over at least 120 common rows are one identity; the
    largest turnover stands for it (unknown is lowest), then the smaller symbol.
    returns : (rows, columns) with NaN; adv : USD per day, NaN where unknown.
    """
    corr = pairwise_correlation(returns, MIN_COMMON)
    np.fill_diagonal(corr, np.nan)
    with np.errstate(invalid="ignore"):
        linked = corr > limit
    known = np.where(np.isfinite(adv), adv, -np.inf)
    found: list[Duplicate] = []
    for group in _components(linked):
        chosen = min(group, key=lambda i: (-known[i], names[i]))
        found += [Duplicate(i, chosen, float(np.nanmax(corr[i, group]))) for i in group if i != chosen]
    return sorted(found, key=lambda d: d.column)


def pairwise_correlation(returns: Floats, min_common: int) -> Floats:
    """Pearson correlation of each pair over its common rows, NaN below `min_common` rows.

    Columns are centred by their own mean first, which keeps the sums free of cancellation.
    """
    have = np.isfinite(returns)
    count = np.maximum(have.sum(axis=0), 1)
    x = np.where(have, returns, 0.0)
    x = np.where(have, x - x.sum(axis=0) / count, 0.0)
    m = have.astype(np.float64)
    n = m.T @ m
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_i = (x.T @ m) / n
        cross = (x.T @ x) / n - mean_i * mean_i.T
        square = ((x * x).T @ m) / n - mean_i**2
        corr: Floats = cross / np.sqrt(square * square.T)
    corr[n < min_common] = np.nan
    return corr


def _components(linked: NDArray[np.bool_]) -> list[list[int]]:
    """Connected groups of two or more columns, each sorted, by smallest member."""
    unseen = {int(i) for i in np.flatnonzero(linked.any(axis=1))}
    groups = []
    while unseen:
        edge = [min(unseen)]
        group: set[int] = set()
        while edge:
            node = edge.pop()
            group.add(node)
            edge += [int(j) for j in np.flatnonzero(linked[node]) if int(j) not in group]
        unseen -= group
        groups.append(sorted(group))
    return groups
