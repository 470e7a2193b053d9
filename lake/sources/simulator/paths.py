"""Return paths: one market factor, sector factors, slow drifts, fat tails and volatility regimes.

Only element-wise arithmetic is used, no linear algebra, so the values do not depend on the number of
threads or on the BLAS in use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SECTORS = ("layer1", "exchange", "defi", "payments", "storage", "games")
TILTED_DAYS = 330  # at the end of the sample the slow drifts keep their sign for so long
_STATES = (0.55, 1.0, 1.75)  # market volatility of the calm, normal and stressed state, relative
_STAY = 0.97


@dataclass(frozen=True)
class Paths:
    """returns : (T, n) simple daily returns in (-1, 2.5)
    volatility : (T, n) conditional daily standard deviation
    sector : (n,) index into `SECTORS`
    """

    returns: Array
    volatility: Array
    sector: NDArray[np.int64]


def paths(streams: list[np.random.Generator], days: int, assets: int, scale: float) -> Paths:
    """Simulate `assets` assets over `days` sessions; asset 0 is the benchmark.

    `scale` multiplies all volatilities and drifts: 1 is a crypto market, about 0.4 a stock market.
    """
    market_rng, sector_rng, asset_rng, drift_rng = streams
    market, level = _market(market_rng, days)
    sector = asset_rng.integers(0, len(SECTORS), assets)
    sector_returns = 0.011 * _unit_t(sector_rng, (days, len(SECTORS))) * level[:, None]
    beta = np.clip(np.exp(0.25 * asset_rng.standard_normal(assets)), 0.5, 1.6)
    own = 0.014 + 0.018 * asset_rng.random(assets)
    beta[0], own[0] = 0.8, 0.006
    stochastic = own * np.exp(_ar1(asset_rng, days, assets, 0.96, 0.28))
    noise = stochastic * _unit_t(asset_rng, (days, assets))
    common = beta * market[:, None] + 0.8 * sector_returns[:, sector]
    total = common + noise + _drift(drift_rng, days, assets)
    variance = (beta * 0.019 * level[:, None]) ** 2 + (0.009 * level[:, None]) ** 2 + stochastic**2
    return Paths(np.clip(scale * total, -0.6, 1.4), scale * np.sqrt(variance), sector)


def _market(rng: np.random.Generator, days: int) -> tuple[Array, Array]:
    """Market returns and their volatility level by a three-state chain; the end has no net drift."""
    jumps = rng.random(days) > _STAY
    targets = rng.choice(3, size=days, p=(0.45, 0.4, 0.15))
    state, level = 1, np.empty(days)
    for t in range(days):
        state = int(targets[t]) if jumps[t] else state
        level[t] = _STATES[state]
    returns = 0.019 * level * _unit_t(rng, (days,)) + np.where(level > 1.5, -0.002, 0.0008)
    tail = slice(max(0, days - TILTED_DAYS), None)
    returns[tail] -= returns[tail].mean() - 0.0006
    return returns, level


def _drift(rng: np.random.Generator, days: int, assets: int) -> Array:
    """Slow expected returns: persistent, so that trend ratings carry a weak signal.

    In the last `TILTED_DAYS` sessions as many assets drift up as down, so both legs have members.
    """
    slow = _ar1(rng, days, assets, 0.985, 0.0012)
    classes = rng.permutation(assets) % 20
    size = 0.0018 + 0.002 * rng.random(assets)
    tilt = np.where(classes < 9, size, np.where(classes < 18, -size, 0.0))
    tilt[0] = 0.0004
    start = days - TILTED_DAYS
    ramp = np.clip((np.arange(days) - (start - 60)) / 60.0, 0.0, 1.0)
    return slow + tilt * ramp[:, None]


def _unit_t(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Student t with 5 degrees of freedom, unit variance, cut at 9 standard deviations."""
    scaled: Array = np.clip(rng.standard_t(5.0, shape) * np.sqrt(3.0 / 5.0), -9.0, 9.0)
    return scaled


def _ar1(rng: np.random.Generator, days: int, assets: int, phi: float, deviation: float) -> Array:
    """Stationary AR(1) paths (T, n) with standard deviation `deviation`."""
    shocks: Array = rng.standard_normal((days, assets)) * (deviation * np.sqrt(1.0 - phi * phi))
    shocks[0] /= np.sqrt(1.0 - phi * phi)
    for t in range(1, days):
        shocks[t] += phi * shocks[t - 1]
    return shocks
