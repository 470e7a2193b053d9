"""Selection engines: which metrics they score, with which weights, and what this version can run."""

from __future__ import annotations

from typing import NamedTuple

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.nearest import did_you_mean
from quantctl.contracts.settings.features import SELECTION_MODES, FeaturesSettings
from quantctl.contracts.settings.mps import MpsSettings
from quantctl.contracts.settings.ranking import RankingSettings
from quantctl.contracts.settings.selection import SelectionSettings
from quantctl.steps.l2_selection.probability import Domain, Method

SPEC_VERSION = "selection/1"
FILTERS_BUILT = ("darwinian", "predictability", "friction", "momentum")
RANKERS_BUILT = ("mps", "signal")


class Metric(NamedTuple):
    """A scored metric: declared domain, mapping, and its weight in each weight set."""

    domain: Domain
    method: Method
    weights: dict[str, float]


def _metric(domain: Domain, method: Method, general: float, stage: float, stressed: float) -> Metric:
    return Metric(domain, method, {"global": general, "stage": stage, "stressed": stressed})


LOG_MPS: dict[str, Metric] = {
    "momentum": _metric("real", "rank", 1.7469, 1.5, 1.3126),
    "stability": _metric("real", "rank", 0.0458, 1.0, 0.0112),
    "liquidity": _metric("unit01", "cdf", 0.2946, 0.5, 0.1978),
    "antifragility": _metric("unit01", "rank", 0.6263, 0.5, 1.7406),
    "survival": _metric("unit01", "cdf", 1.4000, 1.0, 1.8052),
    "efficiency": _metric("unit01", "cdf", 1.5348, 0.5, 0.5061),
    "entropy": _metric("unit01", "rank_desc", 0.0322, 1.0, 0.0928),
    "hurst_signal": _metric("unit01", "rank", 0.3485, 0.5, 0.1716),
    "adx_14": _metric("real", "cdf", 1.0, 1.0, 1.0),
}
LOG_MPS_V4: dict[str, Metric] = {
    **LOG_MPS,
    "recommend_all": _metric("real", "rank", 1.0, 1.0, 1.0),
    "recommend_ma": _metric("real", "rank", 1.0, 1.0, 1.0),
    "recommend_other": _metric("real", "rank", 0.0, 0.0, 0.0),
    "skew": _metric("real", "rank_desc", 0.5, 0.5, 0.5),
    "kurtosis": _metric("real", "rank_desc", 0.5, 1.0, 0.5),
    "cvar": _metric("real", "cdf", 1.0, 1.0, 1.0),
}


class Engine(NamedTuple):
    """An engine of the registry: its metrics and whether fragility lowers the score."""

    name: str
    metrics: dict[str, Metric]
    fragility: bool


ENGINES: dict[str, Engine] = {
    "v3.4": Engine("v3.4", LOG_MPS, fragility=True),
    "v4": Engine("v4", LOG_MPS_V4, fragility=False),
}


def engine_of(mode: str) -> Engine:
    """The engine `mode`; `ENGINE_UNKNOWN` or, for one that is not built, `ENGINE_UNAVAILABLE` (exit 2)."""
    if mode in ENGINES:
        return ENGINES[mode]
    known = mode in SELECTION_MODES
    raise ConfigError(
        "ENGINE_UNAVAILABLE" if known else "ENGINE_UNKNOWN",
        f"selection engine {mode!r} is not part of this version"
        if known
        else f"no selection engine {mode!r}{did_you_mean(mode, SELECTION_MODES)}",
        where="features.selection_mode",
        remedy=f"--set features.selection_mode={'|'.join(ENGINES)}",
    )


def weights_of(engine: Engine, mps: MpsSettings, features: FeaturesSettings) -> dict[str, float]:
    """Weight of each scored metric; a name the engine does not score is `SIGNAL_UNKNOWN` (exit 2)."""
    weights = {name: metric.weights[mps.weight_set] for name, metric in engine.metrics.items()}
    dominant = features.dominant_signal
    for name in (*mps.weights_override, *((dominant,) if dominant else ())):
        if name not in weights:
            raise ConfigError(
                "SIGNAL_UNKNOWN",
                f"engine {engine.name} scores no metric {name!r}{did_you_mean(name, weights)}",
                where="features.dominant_signal" if name == dominant else "mps.weights_override",
                remedy=f"choose one of {', '.join(weights)}",
            )
    weights |= mps.weights_override
    if dominant:
        weights[dominant] = features.dominant_signal_weight
        if dominant != "momentum":
            weights["momentum"] = 0.5
    return weights


def require_built(features: FeaturesSettings, selection: SelectionSettings, ranking: RankingSettings) -> None:
    """Refuse what the settings may name but this version does not run (exit 2), never ignore it."""
    engine_of(features.selection_mode)
    if features.predictability_scale != "raw":
        raise _unavailable("SCALE_UNAVAILABLE", "features.predictability_scale", "calibrated", ("raw",))
    for name in selection.filters:
        if name not in FILTERS_BUILT:
            raise _unavailable("FILTER_UNAVAILABLE", "selection.filters", name, FILTERS_BUILT)
    if ranking.method not in RANKERS_BUILT:
        raise _unavailable("RANKER_UNAVAILABLE", "ranking.method", ranking.method, RANKERS_BUILT)
    if ranking.regime_fit:
        raise _unavailable("RANKER_UNAVAILABLE", "ranking.regime_fit", "true", ("false",))
    if features.feat_dynamic_direction:
        raise _unavailable("RELABEL_UNAVAILABLE", "features.feat_dynamic_direction", "true", ("false",))


def _unavailable(code: str, key: str, value: str, built: tuple[str, ...]) -> ConfigError:
    return ConfigError(
        code,
        f"{key} {value!r} is not part of this version",
        where=key,
        remedy=f"use {' or '.join(built)}",
    )
