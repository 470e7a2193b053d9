"""The regime detector: score centred on its null state, labels, quadrants (features page, part II).

Every component is standardised by the mean and deviation that white noise of the same length has, so
noise scores about 1. Regime never touches clusters, caps, gates or the sign of a position.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.records.regime import (
    Component,
    Environment,
    Growth,
    Hmm,
    Quadrant,
    Regime,
    RegimeRecord,
)
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.regime import RegimeSettings
from quantctl.contracts.stage import Finding, Outcome, RunFacts, StageParams, stage
from quantctl.steps.l4_allocation.hmm import HmmReading, read_hmm
from quantctl.steps.l4_allocation.regime_statistics import TAIL, Statistic, statistics

Floats = NDArray[np.float64]

LEAST_REFERENCE = 5
GROWTH_ROWS = 63
GROWTH_ANNUAL = 0.05
SPECTRAL_QUANTILE = 0.99
CONFIRMED_SCORE = 1.5


class NullTables(Protocol):
    """Null distributions of the statistics, by (metric, n)."""

    def moments(self, metric: str, n: int) -> tuple[float, float]:
        """Mean and sample deviation of `metric` on n rows of white noise."""

    def quantile(self, metric: str, n: int, x: float) -> float:
        """Share of white-noise samples of n rows whose `metric` is below `x`, in (0, 1)."""


class RegimeParams(StageParams):
    """Settings of the detector."""

    regime: RegimeSettings
    features: FeaturesSettings


@stage("allocation.regime", writes=("regime",), params=RegimeParams)
def detect_regime(
    returns_matrix: pl.DataFrame, foundation_report: Any, null_tables: NullTables, params: RegimeParams,
    run: RunFacts,
) -> Outcome:  # fmt: skip
    """Read the state of the market from the reference columns of the returns matrix."""
    market, thin = market_returns(returns_matrix, foundation_report.column_roles, params.regime.max_rows)
    record = read_regime(market, null_tables, params, run.annualisation)
    if thin and params.regime.enabled:
        record = record.model_copy(update={"warnings": ["REGIME_REFERENCE_THIN", *record.warnings]})
    metrics = {
        "regime": record.regime, "quadrant": record.quadrant, "environment": record.environment,
        "score": record.score, "n": record.n,
    }  # fmt: skip
    return Outcome(outputs={"regime": record}, findings=_findings(record), metrics=metrics)


def market_returns(matrix: pl.DataFrame, roles: dict[str, list[str]], max_rows: int) -> tuple[Floats, bool]:
    """Equal-weight mean of the reference columns over the last `max_rows` rows, and whether they are thin.

    Fewer than 5 reference columns are joined by the pool columns. Without any column the result is empty.
    """
    reference = [name for name in matrix.columns[1:] if "reference" in roles.get(name, ())]
    thin = len(reference) < LEAST_REFERENCE
    names = list(matrix.columns[1:]) if thin else reference
    if not names:
        return np.empty(0), True
    values = matrix.tail(max_rows).select(sorted(names)).to_numpy()
    return np.ascontiguousarray(values).mean(axis=1), thin


def read_regime(
    market: Floats, null_tables: NullTables, params: RegimeParams, annualisation: int
) -> RegimeRecord:
    """The regime of one series m of market returns (n,), decimal fractions per bar, newest last."""
    settings = params.regime
    if not settings.enabled:
        return _unread(len(market), "REGIME_DISABLED")
    if len(market) < settings.min_rows:
        return _unread(len(market), "REGIME_INSUFFICIENT_DATA")
    raw = statistics(market)
    components = {name: _component(name, item, null_tables) for name, item in raw.items()}
    score = max(0.0, 1.0 + sum(item.contribution for item in components.values()))
    growth = _growth(market, annualisation)
    quadrant = _quadrant(growth, score >= settings.stress_high, settings.growth_t)
    hmm = read_hmm(market)
    regime, reason = _label(market, score, raw["vol"].value, settings)
    if params.features.feat_spectral_regimes:
        regime = _raised(regime, score, quadrant, hmm, raw, null_tables)
    warnings = [
        f"REGIME_COMPONENT_UNDEFINED:{n}" for n, c in components.items() if c.raw_reason == "UNDEFINED"
    ]
    warnings += ["HMM_NOT_CONVERGED"] if hmm.reason == "HMM_NOT_CONVERGED" else []
    return RegimeRecord(
        n=len(market), regime=regime, score=score, quadrant=quadrant, reason=reason,
        environment=_environment(regime, quadrant), components=components, growth=growth,
        hmm=Hmm(**asdict(hmm)), warnings=warnings,
    )  # fmt: skip


def _unread(n: int, warning: str) -> RegimeRecord:
    return RegimeRecord(
        n=n, regime="NORMAL", score=1.0, quadrant="NORMAL", environment="NORMAL", reason=None, components={},
        growth=Growth(ann=None, t=None, t_reason="TOO_SHORT"),
        hmm=Hmm(**asdict(HmmReading("NORMAL", False, warning))), warnings=[warning],
    )  # fmt: skip


def soft_step(z: float) -> float:
    """g(z) = sign(z) * clip((abs(z) - 1)/3, 0, 1): 0 inside one null sigma, 1 from four."""
    return math.copysign(min(max((abs(z) - 1.0) / 3.0, 0.0), 1.0), z)


def _component(name: str, item: Statistic, null_tables: NullTables) -> Component:
    mu0, sd0 = null_tables.moments(item.metric, item.rows)
    if not math.isfinite(item.value):
        reason = _why(item.value)
        sign = {"ZERO_BASELINE": 1.0, "ZERO_TAIL": -1.0, "UNDEFINED": 0.0}[reason]
        return Component(
            raw=None, raw_reason=reason, mu0=mu0, sd0=sd0, z=None, contribution=item.weight * sign
        )  # fmt: skip
    z = (item.value - mu0) / sd0
    if name == "hurst":
        z = abs(z)
    return Component(
        raw=item.value, raw_reason=None, mu0=mu0, sd0=sd0, z=z, contribution=item.weight * soft_step(z)
    )


def _why(value: float) -> str:
    if math.isnan(value):
        return "UNDEFINED"
    return "ZERO_BASELINE" if value > 0 else "ZERO_TAIL"


def _label(market: Floats, score: float, volatility: float, settings: RegimeSettings) -> tuple[Regime, Any]:
    if float(np.std(market[-TAIL:], ddof=1)) < settings.quiet_abs_vol:
        return "QUIET", "ABS_QUIET"
    if score >= settings.crisis_score:
        return "CRISIS", None
    return ("QUIET" if score < settings.quiet_score or math.isnan(volatility) else "NORMAL"), None


def _raised(
    regime: Regime,
    score: float,
    quadrant: Quadrant,
    hmm: HmmReading,
    raw: dict[str, Statistic],
    null_tables: NullTables,
) -> Regime:
    """NORMAL rises to TURBULENT on spectral evidence, and either to CRISIS where it is confirmed."""
    if regime == "NORMAL" and any(_extreme(raw[name], null_tables) for name in ("turbulence", "hurst")):
        regime = "TURBULENT"
    confirmed = hmm.state == "CRISIS" or quadrant == "CRISIS"
    if regime in ("NORMAL", "TURBULENT") and confirmed and score > CONFIRMED_SCORE:
        return "CRISIS"
    return regime


def _extreme(item: Statistic, null_tables: NullTables) -> bool:
    if not math.isfinite(item.value):
        return False
    return null_tables.quantile(item.metric, item.rows, item.value) > SPECTRAL_QUANTILE


def _growth(market: Floats, annualisation: int) -> Growth:
    recent = market[-GROWTH_ROWS:]
    mean = float(recent.mean())
    deviation = float(np.std(market[:-TAIL], ddof=1))
    if deviation <= 0.0:
        return Growth(ann=mean * annualisation, t=None, t_reason="ZERO_BASELINE")
    t = mean / (deviation / math.sqrt(len(recent)))
    return Growth(ann=mean * annualisation, t=t, t_reason=None)


def _quadrant(growth: Growth, stressed: bool, growth_t: float) -> Quadrant:
    if growth.ann is None or growth.t is None:
        return "NORMAL"
    if growth.ann > GROWTH_ANNUAL and growth.t > growth_t:
        return "INFLATIONARY_TREND" if stressed else "EXPANSION"
    if growth.ann < -GROWTH_ANNUAL and growth.t < -growth_t:
        return "CRISIS" if stressed else "STAGNATION"
    return "NORMAL"


def _environment(regime: Regime, quadrant: Quadrant) -> Environment:
    if "CRISIS" in (regime, quadrant):
        return "CRISIS"
    if quadrant in ("EXPANSION", "INFLATIONARY_TREND"):
        return "EXPANSION"
    return "STAGNATION" if quadrant == "STAGNATION" else "NORMAL"


def _findings(record: RegimeRecord) -> list[Finding]:
    found = []
    for warning in record.warnings:
        code, _, name = warning.partition(":")
        message = f"component {name} is undefined" if name else f"regime read from {record.n} rows: {code}"
        level: Any = "INFO" if code in ("REGIME_DISABLED", "HMM_NOT_CONVERGED") else "WARN"
        found.append(Finding(level=level, code=code, message=message, details={"n": record.n}))
    return found
