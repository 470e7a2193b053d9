"""Statistics of the market's return series behind the regime score (features page, section 8)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l2_selection.predictability import (
    autocorrelation,
    haar_turbulence,
    hurst,
    permutation_entropy,
)

Floats = NDArray[np.float64]

TAIL = 10
SPECTRAL_ROWS = 64
ENTROPY_ORDER = 3


class Statistic(NamedTuple):
    """A component of the score.

    metric : its null table; rows : the n of that table; weight : its share of the score
    value : the statistic, NaN where it is undefined, infinite where a volatility is zero
    """

    metric: str
    rows: int
    weight: float
    value: float


def statistics(market: Floats) -> dict[str, Statistic]:
    """The six components of one series m (n >= 64), raw."""
    n = len(market)
    recent = market[-SPECTRAL_ROWS:]
    return {
        "vol": Statistic("volratio10", n, 1.00, volatility_ratio(market)),
        "turbulence": Statistic("haar64", SPECTRAL_ROWS, 0.25, haar_turbulence(market)),
        "vol_cluster": Statistic("absac1", n, 0.15, autocorrelation(np.abs(market), 1)),
        "entropy": Statistic("pe3", SPECTRAL_ROWS, 0.10, permutation_entropy(recent, ENTROPY_ORDER)),
        "hurst": Statistic("hurst", n, 0.10, hurst(market)),
        "tails": Statistic("lnkurt", n, 0.15, log_kurtosis(market)),
    }


def volatility_ratio(market: Floats) -> float:
    """ln of mean absolute deviation from the median, last 10 rows over all earlier rows.

    Infinite where the earlier rows have none, -inf where the tail has none, NaN where both have none.
    """
    deviation = np.abs(market - np.median(market))
    tail, base = float(deviation[-TAIL:].mean()), float(deviation[:-TAIL].mean())
    if tail > 0.0 and base > 0.0:
        return math.log(tail / base)
    if tail == base:
        return math.nan
    return math.inf if tail > 0.0 else -math.inf


def log_kurtosis(market: Floats) -> float:
    """ln(1 + max(0, biased excess kurtosis)); NaN without variance."""
    centred = market - market.mean()
    variance = float((centred**2).mean())
    if variance <= 0.0:
        return math.nan
    return math.log1p(max(0.0, float((centred**4).mean()) / variance**2 - 3.0))
