"""Feature parameters, predictability thresholds and feature flags."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator

from quantctl.contracts.settings.section import Finite, Fraction, NonNegative, Section, one_of, refusal

SELECTION_MODES = ("legacy", "v2", "v2.1", "v3.2", "v3.4", "v4", "baseline", "liquid_htr")
METRICS = (
    "momentum", "stability", "liquidity", "antifragility", "survival", "efficiency", "entropy",
    "hurst_signal", "adx_14", "recommend_all", "recommend_ma", "recommend_other", "skew", "kurtosis", "cvar",
)  # fmt: skip
SelectionMode = Annotated[str, one_of("ENGINE_UNKNOWN", "selection engine", SELECTION_MODES)]
Metric = Annotated[str, one_of("SIGNAL_UNKNOWN", "scored metric", METRICS)]
STRESS_WINDOWS = (
    (date(2022, 5, 1), date(2022, 6, 15)),
    (date(2023, 3, 1), date(2023, 3, 31)),
    (date(2024, 8, 1), date(2024, 8, 10)),
)


class CalibratedSettings(Section):
    """`features.calibrated.*`: thresholds on the null-quantile scale."""

    entropy_max_q: Fraction = Field(
        0.90, description="Null quantile of entropy above which an atom is vetoed."
    )
    efficiency_min_q: Fraction = Field(
        0.10, description="Null quantile of efficiency below which it is vetoed."
    )
    hurst_band_q: tuple[Fraction, Fraction] = Field(
        (0.45, 0.55), description="Open band of null quantiles of Hurst that reads as a random walk."
    )
    hurst_toxic_q: Fraction = Field(0.95, description="Null quantile of Hurst that reads as persistent.")

    @model_validator(mode="after")
    def _ordered(self) -> CalibratedSettings:
        if self.hurst_band_q[0] >= self.hurst_band_q[1]:
            raise refusal("CONFIG_RANGE", f"hurst_band_q {list(self.hurst_band_q)} is not an increasing band")
        return self


class FeaturesSettings(Section):
    """`features.*`: engine, lookback, thresholds and flags."""

    selection_mode: SelectionMode = Field("v4", description="Selection engine.")
    feature_lookback: Annotated[int, Field(ge=60)] = Field(
        120, description="Returns behind the predictability metrics, in bars; a store parameter."
    )
    stress_windows: tuple[tuple[date, date], ...] = Field(
        STRESS_WINDOWS, description="First and last day of each stress window; a store parameter."
    )
    predictability_scale: Literal["raw", "calibrated"] = Field(
        "raw", description="Scale on which predictability thresholds compare."
    )
    require_reachable_thresholds: bool = Field(
        False, description="Whether a raw threshold that cannot act is refused."
    )
    entropy_max_threshold: Fraction = Field(
        0.95, description="Raw permutation entropy above which an atom is vetoed."
    )
    efficiency_min_threshold: Fraction = Field(
        0.05, description="Raw efficiency ratio below which it is vetoed."
    )
    hurst_random_walk_min: Fraction = Field(0.48, description="Lower edge of the random-walk band of Hurst.")
    hurst_random_walk_max: Fraction = Field(0.52, description="Upper edge of the random-walk band of Hurst.")
    hurst_toxic: Fraction = Field(0.55, description="Hurst above which a losing stream is persistent.")
    calibrated: CalibratedSettings = Field(
        default_factory=CalibratedSettings, description="Thresholds on the calibrated scale."
    )
    eci_hurdle: Finite = Field(0.0, description="Least annual return net of friction.")
    dominant_signal: Metric | None = Field(None, description="Metric whose weight is raised; null for none.")
    dominant_signal_weight: NonNegative = Field(3.0, description="Weight of the dominant signal.")
    feat_predictability_vetoes: bool = Field(True, description="Apply the predictability vetoes.")
    feat_short_direction: bool = Field(False, description="Allow SHORT atoms.")
    feat_dynamic_selection: bool = Field(True, description="Select anew at each walk-forward decision date.")
    feat_dynamic_direction: bool = Field(
        False, description="Relabel candidates by the sign of their 60-bar return."
    )
    feat_spectral_regimes: bool = Field(
        True, description="Let spectral evidence and the HMM raise the regime."
    )
    feat_turnover_penalty: bool = Field(False, description="Penalise turnover against the previous weights.")
    feat_short_costs: bool = Field(False, description="Charge borrow cost on short notional.")
    feat_partial_rebalance: bool = Field(True, description="Skip resizes below the smallest trade.")
    feat_directional_sign_test_gate_atomic: bool = Field(
        True, description="Run the sign test of atomic runs."
    )
    feat_directional_sign_test_gate: bool = Field(
        True, description="Require the sign test of sleeves in meta runs."
    )

    @model_validator(mode="after")
    def _ordered(self) -> FeaturesSettings:
        if self.hurst_random_walk_min >= self.hurst_random_walk_max:
            raise refusal("CONFIG_RANGE", "hurst_random_walk_min must be below hurst_random_walk_max")
        for first, last in self.stress_windows:
            if first > last:
                raise refusal("CONFIG_RANGE", f"stress window {first}..{last} ends before it begins")
        return self
