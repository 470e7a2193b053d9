"""Distributions of the statistics on white noise: where noise sits at each n, and how rare a value is.

Source: selection page, section 5.1. A table is a function of (metric, n) alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.canonical import hash_json
from quantctl.contracts.errors import InternalError
from quantctl.steps.l2_selection.null_statistics import LEAST, STATISTICS

Vector = NDArray[np.float64]
METRICS: Mapping[str, int] = {
    "pe3": 1, "pe5": 2, "hurst": 3, "haar64": 4, "volratio10": 5, "absac1": 6, "lnkurt": 7,
}  # fmt: skip
ROWS = 4000
SEED = 20260122
LARGEST = 2048
_VERSION = 1
_NORMAL = NormalDist()


class Store(Protocol):
    """Where tables are kept between runs; a table that it lacks or cannot read is built anew."""

    def load(self, key: str) -> Vector | None:
        """The sorted values kept under `key` (file-name safe), or None."""

    def save(self, key: str, values: Vector) -> None:
        """Keep `values` under `key`."""


@dataclass(frozen=True)
class NullTable:
    """Sorted values (R,) of one metric on rows of n standard normals."""

    metric: str
    n: int
    values: Vector

    @cached_property
    def mu0(self) -> float:
        """Mean of the metric on noise."""
        return float(self.values.mean())

    @cached_property
    def sd0(self) -> float:
        """Sample standard deviation of the metric on noise."""
        return float(self.values.std(ddof=1))

    def quantile_of(self, x: float) -> float:
        """F0(x) = (#{v < x} + #{v = x}/2 + 1/2)/(R + 1), in (0, 1); NaN for NaN."""
        return float(self.quantiles_of(np.array([x]))[0])

    def quantiles_of(self, x: Vector) -> Vector:
        """F0 of each value, same shape; NaN for NaN."""
        below = np.searchsorted(self.values, x, side="left")
        upto = np.searchsorted(self.values, x, side="right")
        share = (0.5 * (below + upto) + 0.5) / (len(self.values) + 1)
        return np.where(np.isnan(x), np.nan, share)

    def quantile(self, p: float) -> float:
        """The value below which a share p of noise lies, linear interpolation."""
        return float(np.quantile(self.values, p))


def build_null_table(metric: str, n: int) -> NullTable:
    """The table of `metric` for the exact n (2048 when n is larger).

    Raises `NULL_TABLE_UNDEFINED` (exit 70) for an unknown metric or an n at which it is undefined.
    """
    if metric not in METRICS or n < LEAST[metric]:
        raise InternalError("NULL_TABLE_UNDEFINED", f"no null table of {metric} at n={n}")
    size = min(n, LARGEST)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([SEED, METRICS[metric], size])))
    values = STATISTICS[metric](generator.standard_normal((ROWS, size)))
    return NullTable(metric, size, np.sort(values))


def table_key(metric: str, n: int) -> str:
    """`<metric>-<n>-<12 hex digits of the definition>`: what a stored table is kept under."""
    definition = {"formulas": _VERSION, "rows": ROWS, "seed": SEED, "code": METRICS[metric], "n": n}
    return f"{metric}-{n}-{hash_json(definition)[:12]}"


class NullTables:
    """Null distributions by (metric, n), built on first use and kept in `store` when there is one."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._held: dict[tuple[str, int], NullTable] = {}

    def get(self, metric: str, n: int) -> NullTable:
        """The table of a metric of `METRICS` for the exact n; raises as `build_null_table`."""
        key = (metric, min(n, LARGEST))
        if key not in self._held:
            self._held[key] = self._obtained(*key)
        return self._held[key]

    def moments(self, metric: str, n: int) -> tuple[float, float]:
        """mu0 and sd0 of `metric` on n rows of white noise."""
        table = self.get(metric, n)
        return table.mu0, table.sd0

    def quantile(self, metric: str, n: int, x: float) -> float:
        """F0 of the value x of `metric` on n rows, in (0, 1)."""
        return self.get(metric, n).quantile_of(x)

    def _obtained(self, metric: str, n: int) -> NullTable:
        if metric not in METRICS or self._store is None:
            return build_null_table(metric, n)
        key = table_key(metric, n)
        values = self._store.load(key)
        if values is not None and _sound(values):
            return NullTable(metric, n, values)
        table = build_null_table(metric, n)
        self._store.save(key, table.values)
        return table


def _sound(values: Vector) -> bool:
    if values.dtype != np.float64 or values.shape != (ROWS,):
        return False
    return bool(np.isfinite(values).all() and (np.diff(values) >= 0).all())


def efficiency_quantile(x: float, n: int) -> float:
    """Null quantile of ER on n returns: 2*Phi(x*sqrt(2n/pi)) - 1, in [0, 1)."""
    return 2 * _NORMAL.cdf(x * math.sqrt(2 * n / math.pi)) - 1


def efficiency_at(p: float, n: int) -> float:
    """The ER below which a share p of noise lies: inverse of `efficiency_quantile`."""
    return _NORMAL.inv_cdf((1 + p) / 2) / math.sqrt(2 * n / math.pi)


def autocorrelation_quantile(x: float, n: int) -> float:
    """Null quantile of ac_k on n returns: normal with mean -1/n and variance 1/n."""
    return _NORMAL.cdf((x + 1 / n) * math.sqrt(n))
