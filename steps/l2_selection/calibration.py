"""What the null distributions say of raw thresholds: which of them cannot act at a given length."""

from __future__ import annotations

from collections.abc import Iterable
from math import log
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl

from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.htr import HtrSettings
from quantctl.contracts.stage import Finding
from quantctl.steps.l2_selection.candidates import Candidates

PATTERNS = 120  # ordinal patterns of order 5
ENTROPY_TABLE = "pe5"
HURST_TABLE = "hurst"
LEAST_ROWS = 32  # below it Hurst is undefined


class NullTable(Protocol):
    """The null distribution of one statistic on white noise of one length."""

    @property
    def mu0(self) -> float:
        """Mean."""

    @property
    def sd0(self) -> float:
        """Sample standard deviation."""

    def quantile(self, level: float) -> float:
        """Quantile of the draws."""


class NullTables(Protocol):
    """Null tables by (metric, n), built on first use by their owner."""

    def get(self, metric: str, n: int) -> NullTable:
        """The table of `metric` at exactly `n`."""


class Limit(NamedTuple):
    """An upper threshold in force on a raw metric, and the setting that it comes from."""

    metric: str
    table: str
    threshold: float
    key: str


def upper_limits(features: FeaturesSettings, htr: HtrSettings) -> list[Limit]:
    """Raw upper thresholds that selection applies."""
    limits = [Limit("entropy_hard_stop", ENTROPY_TABLE, htr.entropy_hard_stop, "htr.entropy_hard_stop")]
    if features.feat_predictability_vetoes:
        entropy = features.entropy_max_threshold
        limits += [
            Limit("entropy", ENTROPY_TABLE, entropy, "features.entropy_max_threshold"),
            Limit("hurst_toxic", HURST_TABLE, features.hurst_toxic, "features.hurst_toxic"),
        ]
    return limits


def lengths(candidates: Candidates) -> dict[int, int]:
    """Observations behind the windowed metrics -> number of candidates, from the least that Hurst needs."""
    known = candidates.number("n_obs_120")
    values, counts = np.unique(known[known >= LEAST_ROWS].astype(int), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def structural_bound(table: str, n: int) -> float:
    """Largest value the statistic can take at n: PE(5) sees n - 4 patterns, Hurst is clipped to 1."""
    return log(max(min(n - 4, PATTERNS), 1)) / log(PATTERNS) if table == ENTROPY_TABLE else 1.0


def unreachable(
    found: dict[int, int], tables: NullTables, features: FeaturesSettings, htr: HtrSettings
) -> list[Finding]:
    """`THRESHOLD_UNREACHABLE`, once per (metric, n), for raw thresholds that cannot act."""
    findings = []
    for n, assets in found.items():
        for limit in upper_limits(features, htr):
            bound = structural_bound(limit.table, n)
            q999 = tables.get(limit.table, n).quantile(0.999)
            if limit.threshold >= min(bound, q999):
                findings.append(_unreachable(limit, n, bound, q999, assets))
        if features.feat_predictability_vetoes and features.efficiency_min_threshold <= 0.0:
            lower = Limit("efficiency", "efficiency", 0.0, "features.efficiency_min_threshold")
            findings.append(_unreachable(lower, n, 0.0, None, assets))
    return findings


def _unreachable(limit: Limit, n: int, bound: float, q999: float | None, assets: int) -> Finding:
    return Finding(
        level="INFO",
        code="THRESHOLD_UNREACHABLE",
        message=f"{limit.key} {limit.threshold:g} cannot act on {limit.metric} of {n} observations",
        details={
            "metric": limit.metric, "n": n, "threshold": limit.threshold, "bound": bound, "q999": q999,
            "n_assets": assets, "key": limit.key,
        },
    )  # fmt: skip


LEVELS = {
    "q001": 0.001, "q01": 0.01, "q05": 0.05, "q50": 0.5, "q95": 0.95, "q99": 0.99, "q999": 0.999,
}  # fmt: skip
DRAWS = 4000
SEED = 20260122
CODES = {ENTROPY_TABLE: 2, HURST_TABLE: 3}


def calibration_frame(found: Iterable[int], tables: NullTables) -> pl.DataFrame:
    """`null_calibration`: the null rows of entropy and Hurst at every length in use."""
    rows: list[dict[str, Any]] = []
    for metric in sorted(CODES):
        for n in found:
            table = tables.get(metric, n)
            rows.append({
                "metric": metric, "n": n, "draws": DRAWS, "seed": f"{SEED},{CODES[metric]},{n}",
                "mu0": table.mu0, "sd0": table.sd0,
                **{name: table.quantile(level) for name, level in LEVELS.items()},
            })  # fmt: skip
    schema = {"metric": pl.String, "n": pl.Int32, "draws": pl.Int32, "seed": pl.String}
    return pl.DataFrame(rows, schema=schema | dict.fromkeys(("mu0", "sd0", *LEVELS), pl.Float64))
