"""Mappings of a metric's cross-section to probabilities.

Every mapping takes one direction leg as an array of shape (N,), ignores NaN in ranks and moments, and
returns values in [0, 1] with 0.5 where the metric is NaN. A cross-section of one value maps to 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from math import erf
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Method = Literal["rank", "rank_desc", "logistic", "zscore", "minmax", "cdf"]
Domain = Literal["unit01", "real"]
NEUTRAL = 0.5
EPSILON = 1e-9


def probability(values: Array, method: Method, domain: Domain, *, clip: float = 3.0) -> Array:
    """P of each value by `method`; the branch of `cdf` follows the declared `domain`, never the data.

    clip : c of `zscore`, in standard deviations
    """
    result = np.full(len(values), NEUTRAL)
    known = ~np.isnan(values)
    present = values[known]
    if method == "cdf" and domain == "unit01":
        result[known] = np.clip(present, 0.001, 1.0)
    elif len(present) > 1:
        result[known] = _MAPPINGS[method](present, clip)
    return result


def average_ranks(values: Array) -> Array:
    """Ranks 1..N ascending, ties sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (last - (counts - 1) / 2.0)[inverse]
    return ranks


def minmax(values: Array) -> Array:
    """(x - min) / (max - min) over the values that are not NaN; 0.5 for a constant series, NaN stays."""
    known = values[~np.isnan(values)]
    if not len(known):
        return values.copy()
    low, high = known.min(), known.max()
    if high == low:
        return np.where(np.isnan(values), np.nan, NEUTRAL)
    scaled: Array = (values - low) / (high - low)
    return scaled


def _z(values: Array) -> Array:
    scores: Array = (values - values.mean()) / (values.std(ddof=1) + EPSILON)
    return scores


def _rank(values: Array, _clip: float) -> Array:
    return 0.01 + 0.99 * (average_ranks(values) - 1.0) / (len(values) - 1)


def _rank_desc(values: Array, _clip: float) -> Array:
    return 1.0 - 0.99 * (average_ranks(values) - 1.0) / (len(values) - 1)


def _logistic(values: Array, _clip: float) -> Array:
    return 1.0 / (1.0 + np.exp(-_z(values)))


def _zscore(values: Array, clip: float) -> Array:
    return (np.clip(_z(values), -clip, clip) + clip) / (2.0 * clip)


def _minmax(values: Array, _clip: float) -> Array:
    return minmax(values)


def _normal_cdf(values: Array, _clip: float) -> Array:
    return np.clip([0.5 * (1.0 + erf(z / np.sqrt(2.0))) for z in _z(values)], 0.001, 1.0)


_MAPPINGS: dict[str, Callable[[Array, float], Array]] = {
    "rank": _rank,
    "rank_desc": _rank_desc,
    "logistic": _logistic,
    "zscore": _zscore,
    "minmax": _minmax,
    "cdf": _normal_cdf,
}
