"""Selection: filters, recruitment and clusters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from quantctl.contracts.settings.section import (
    AtLeastOne,
    Finite,
    Fraction,
    NonNegative,
    Positive,
    Section,
    one_of,
)  # fmt: skip

FILTERS = ("darwinian", "predictability", "friction", "momentum", "trend_regime", "advanced_trend")
FilterName = Annotated[str, one_of("FILTER_UNKNOWN", "filter", FILTERS)]


class ClusterSettings(Section):
    """`selection.clusters.*` and `allocation.clusters.*`: correlation clusters of return columns."""

    lookbacks: tuple[AtLeastOne, ...] = Field((60, 120, 200), description="Correlation windows, in rows.")
    threshold: NonNegative = Field(
        0.5, description="Height at which the Ward tree is cut, in units of distance."
    )
    max_clusters: AtLeastOne = Field(25, description="Most clusters; more are cut to exactly this number.")
    ridge_floor: Fraction = Field(0.01, description="Least shrinkage towards the identity before distances.")


class LiquidityReference(Section):
    """`selection.liquidity_ref.*`: turnover at which liquidity scores 1."""

    crypto: Positive = Field(1e7, description="For crypto assets, in USD per day.")
    other: Positive = Field(5e8, description="For all other assets, in USD per day.")


class TrendSettings(Section):
    """`selection.trend.*`: the trend-regime filter."""

    strict_regime: bool = Field(True, description="Require the proxy on the right side of SMA200.")
    strict_signal: bool = Field(True, description="Require a fresh crossing in the right direction.")
    lookback: AtLeastOne = Field(5, description="Transitions in which the crossing must lie, in bars.")
    regime_source: Literal["close", "sma_50", "vwma"] = Field(
        "close", description="Proxy compared with SMA200."
    )
    threshold: NonNegative = Field(0.0, description="Distance from SMA200 that is required, as a fraction.")


class AdvancedTrendSettings(Section):
    """`selection.advanced_trend.*`: the advanced trend filter."""

    mode: Literal["adx_regime", "donchian_breakout", "bb_expansion"] = Field(
        "adx_regime", description="Rule of the filter."
    )
    adx_threshold: Annotated[float, Field(ge=0, le=100)] = Field(20.0, description="Least ADX, inclusive.")
    donchian_tol: Fraction = Field(0.005, description="Distance from the channel's edge that still counts.")


class SelectionSettings(Section):
    """`selection.*`: filters, recruitment and clusters."""

    top_n: AtLeastOne = Field(3, description="Recruits per cluster and direction.")
    max_winners: Annotated[int, Field(ge=15)] = Field(25, description="Most winners; at least 15.")
    dynamic_sizing: bool = Field(False, description="Recruit fewer from clusters that move together.")
    filters: tuple[FilterName, ...] = Field(
        ("darwinian", "predictability", "friction"), description="Active filters; darwinian is always on."
    )
    percentile: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Share of each leg kept by rank before the ladder; null for no cut."
    )
    min_momentum_score: Finite = Field(0.0, description="Least 60-bar compounded return of the stream.")
    eci_order_notional: Positive = Field(1e6, description="Order size of the friction estimate, in USD.")
    liquidity_ref: LiquidityReference = Field(
        default_factory=LiquidityReference, description="Turnover at which liquidity scores 1."
    )
    clusters: ClusterSettings = Field(default_factory=ClusterSettings, description="Clusters of raw returns.")
    trend: TrendSettings = Field(default_factory=TrendSettings, description="The trend-regime filter.")
    advanced_trend: AdvancedTrendSettings = Field(
        default_factory=AdvancedTrendSettings, description="The advanced trend filter."
    )
