"""Windows, costs and gates of simulation; the train window also bounds allocation."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator

from quantctl.contracts.settings.allocation import RiskProfile
from quantctl.contracts.settings.section import (
    AtLeastOne,
    Count,
    Finite,
    Fraction,
    NonNegative,
    Positive,
    Section,
    refusal,
)  # fmt: skip


class ScoreboardSettings(Section):
    """`backtest.gates.*`: limits of the scoreboard."""

    friction_decay: Finite = Field(0.30, description="Largest loss of return to friction, as a fraction.")
    temporal_fragility: Finite = Field(1.5, description="Largest dispersion of window results.")
    selection_jaccard: Fraction = Field(0.30, description="Least overlap of consecutive selections.")
    af_dist: Finite = Field(-0.20, description="Least antifragility distance.")
    stress_alpha: Finite = Field(0.0, description="Least excess return in stress.")
    turnover: NonNegative = Field(0.50, description="Largest one-way turnover per rebalance.")
    tail_multiple: Positive = Field(
        1.25, description="Largest CVaR and drawdown, as multiples of the market's."
    )
    parity_gap: NonNegative = Field(0.015, description="Largest difference between simulators.")
    beta_market: NonNegative = Field(0.5, description="Largest market beta of min_variance.")
    allow_missing: tuple[str, ...] = Field((), description="Metrics that may be undefined.")
    enforce: bool = Field(False, description="Whether a failed scoreboard fails the run.")


class BacktestSettings(Section):
    """`backtest.*`: windows, costs, accounting and gates."""

    enabled: bool = Field(True, description="Whether a run ends with a walk-forward.")
    start: date | None = Field(None, description="First session of the panel; null: the earliest possible.")
    train_window: AtLeastOne = Field(252, description="Train rows, and the allocation window, in bars.")
    test_window: AtLeastOne = Field(20, description="Test rows of a window, in bars.")
    step_size: AtLeastOne = Field(20, description="Distance of window starts, in step_unit.")
    step_unit: Literal["bars", "days"] = Field("bars", description="Unit of step_size.")
    anchored: bool = Field(False, description="Whether train windows begin at row 0.")
    min_assets: AtLeastOne = Field(2, description="Fewest eligible symbols of a window.")
    window_max_daily_vol: Positive | None = Field(
        None, description="Largest daily volatility in train; null: none."
    )
    window_max_abs_return: Positive | None = Field(
        None, description="Largest daily return in train; null: none."
    )
    benchmark_symbols: tuple[str, ...] = Field((), description="Benchmarks; the first also serves beta.")
    slippage: NonNegative = Field(0.0005, description="Fraction of traded notional.")
    commission: NonNegative = Field(0.0001, description="Fraction of traded notional.")
    short_borrow_cost: NonNegative = Field(0.02, description="Borrow cost per year of short notional.")
    cash_buffer: Fraction = Field(0.0, description="Share of capital kept in cash.")
    cash_rate: Finite = Field(0.0, description="Interest on positive cash, per year.")
    rebalance_mode: Literal["window", "daily", "tolerance"] = Field(
        "window", description="When targets are traded."
    )
    rebalance_drift_limit: NonNegative = Field(
        0.05, description="One-way drift that trades under `tolerance`."
    )
    min_trade_weight: NonNegative = Field(0.01, description="Smallest resize that trades, as a weight.")
    execution_lag: Count = Field(0, description="Bars between decision and trade.")
    max_stale_bars: AtLeastOne = Field(3, description="Missing bars before a holding is liquidated.")
    delisting_return: Annotated[float, Field(ge=-1, le=0)] = Field(
        -0.30, description="Return of that liquidation."
    )
    engines: tuple[Literal["cvxpy", "native"], ...] = Field(
        (), description="Engines; empty: allocation.engine."
    )
    profiles: tuple[RiskProfile, ...] = Field(
        (), description="Risk profiles; empty: allocation.risk_profiles."
    )
    simulators: tuple[Literal["custom", "cvxportfolio", "vectorbt", "nautilus"], ...] = Field(
        ("custom",), description="Simulators."
    )
    simulator_timeout_s: Positive = Field(600, description="Longest run of a foreign simulator, in seconds.")
    gates: ScoreboardSettings = Field(
        default_factory=ScoreboardSettings, description="Limits of the scoreboard."
    )

    @model_validator(mode="after")
    def _no_gap(self) -> BacktestSettings:
        if self.step_unit == "bars" and self.test_window < self.step_size:
            raise refusal(
                "WINDOW_GAP", "backtest.test_window is below backtest.step_size: bars would fall between"
            )
        return self
