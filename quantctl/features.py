"""The feature store as a library: pure functions on bars, without a run, a lake or settings files.

    from quantctl.features import compute_features
    compute_features(bars, {"BINANCE:BTCUSDT": 365}, {}, FeaturesSettings(), RatingsSettings())

Kernels take float64 arrays with time last, `indicators` a row per asset; a value at t depends on bars <= t
alone, and what is undefined is NaN (null in frames).
"""

from __future__ import annotations

from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.steps.l1_ingestion.feature_store import (
    AUXILIARY,
    CANONICAL,
    DOMAINS,
    FIRST_BARS,
    compute_features,
    definition_hash,
)
from quantctl.steps.l1_ingestion.feature_validator import Validation, validate_features
from quantctl.steps.l1_ingestion.indicators import Bars, indicators
from quantctl.steps.l1_ingestion.ratings import ratings
from quantctl.steps.l1_ingestion.smoothing import ema, highest, hma, lowest, rma, sma, vwma, wma
from quantctl.steps.l2_selection.null_tables import (
    NullTables,
    autocorrelation_quantile,
    build_null_table,
    efficiency_at,
    efficiency_quantile,
)
from quantctl.steps.l2_selection.predictability import (
    autocorrelation,
    efficiency,
    haar_turbulence,
    hurst,
    hurst_clean,
    permutation_entropy,
    rolling_entropy,
    rolling_hurst,
    rolling_turbulence,
)  # fmt: skip

__all__ = [
    "AUXILIARY", "CANONICAL", "DOMAINS", "FIRST_BARS", "Bars", "FeaturesSettings", "NullTables",
    "RatingsSettings", "Validation", "autocorrelation", "autocorrelation_quantile", "build_null_table",
    "compute_features", "definition_hash", "efficiency", "efficiency_at", "efficiency_quantile", "ema",
    "haar_turbulence", "highest", "hma", "hurst", "hurst_clean", "indicators", "lowest",
    "permutation_entropy", "ratings", "rma", "rolling_entropy", "rolling_hurst", "rolling_turbulence", "sma",
    "validate_features", "vwma", "wma",
]  # fmt: skip
