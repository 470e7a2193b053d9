"""Bars: history rules, health, network and repair."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from quantctl.contracts.settings.section import (
    AtLeastOne,
    Count,
    Fraction,
    NonNegative,
    Positive,
    Section,
    one_of,
    refusal,
)  # fmt: skip

CALENDAR_CODES = ("24x7", "24x5", "XNYS", "CMES", "ICEUS", "XEUR", "XLON", "XFRA", "XTSE", "XCRY", "CRYPTO")
CalendarCode = Annotated[str, one_of("CALENDAR_UNKNOWN", "calendar", CALENDAR_CODES)]
CALENDARS: dict[str, str] = {
    **dict.fromkeys(("BINANCE", "BYBIT", "OKX", "BITGET", "COINBASE", "KRAKEN"), "24x7"),
    **dict.fromkeys(("NASDAQ", "NYSE", "AMEX", "US"), "XNYS"),
    **dict.fromkeys(("CME", "CME_MINI", "CBOT", "COMEX", "NYMEX"), "CMES"),
    **dict.fromkeys(("OANDA", "FX_IDC", "FOREX"), "24x5"),
    "ICEUS": "ICEUS",
    "EUREX": "XEUR",
    "LSE": "XLON",
    "XETR": "XFRA",
    "TSX": "XTSE",
}


class HttpSettings(Section):
    """`data.http.*`: requests of DataOps."""

    tradingview_base_url: str = Field("https://scanner.tradingview.com", description="Scanner service.")
    binance_spot_base_url: str = Field("https://api.binance.com", description="Spot market data.")
    binance_usdm_base_url: str = Field("https://fapi.binance.com", description="USD-M futures market data.")
    max_attempts: AtLeastOne = Field(5, description="Attempts per request.")
    backoff_base_s: NonNegative = Field(1, description="First wait between attempts, in seconds.")
    backoff_cap_s: NonNegative = Field(60, description="Longest computed wait, in seconds.")
    backoff_scale: NonNegative = Field(1.0, description="Factor on every wait.")
    retry_after_max_s: NonNegative = Field(
        300, description="Longest wait that a venue may ask for, in seconds."
    )
    timeout_connect_s: Positive = Field(5, description="Connect timeout, in seconds.")
    timeout_read_s: Positive = Field(10, description="Read timeout, in seconds.")
    max_body_mb: Positive = Field(64, description="Largest reply, in MB.")
    weight_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        0.7, description="Share of a venue's weight budget."
    )
    keep_raw: bool = Field(True, description="Keep replies content-addressed below the run directory.")


class FreshnessSettings(Section):
    """`data.freshness.*`: age of bars."""

    stale_hours: Positive = Field(
        168, description="Age of the last bar from which a symbol is stale, in hours."
    )
    settle_minutes: NonNegative = Field(
        15, description="Time after a close before its bar is expected, in minutes."
    )
    alpha_action: Literal["fail", "warn"] | None = Field(
        None, description="What a stale snapshot does to a run; null: fail under data.strict, else warn."
    )


class GapSettings(Section):
    """`data.gaps.*`: missing sessions."""

    tolerated: dict[CalendarCode, Count] = Field(
        {"24x7": 0}, description="Calendar to gaps tolerated per symbol."
    )
    tolerated_default: Count = Field(1, description="Gaps tolerated on any other calendar.")


class ToxicitySettings(Section):
    """`data.toxicity.*`: bars that nobody should trade on."""

    max_abs_return: Positive = Field(
        5.0, description="Daily return beyond which an asset is toxic, as a fraction."
    )
    warn_abs_return: Positive = Field(
        1.0, description="Daily return beyond which it is reported, as a fraction."
    )
    stall_bars: Annotated[int, Field(ge=2)] = Field(3, description="Identical closes that read as a stall.")
    volume_z: Positive = Field(10.0, description="Standard deviations of volume that read as a spike.")

    @model_validator(mode="after")
    def _ordered(self) -> ToxicitySettings:
        if self.warn_abs_return > self.max_abs_return:
            raise refusal("CONFIG_RANGE", "toxicity.warn_abs_return is above toxicity.max_abs_return")
        return self


class IngestSettings(Section):
    """`data.ingest.*`: bars from the network."""

    chunk_size: AtLeastOne = Field(25, description="Symbols per unit of work.")
    symbol_timeout_s: Positive = Field(300, description="Longest pass over one symbol, in seconds.")
    max_pages: AtLeastOne = Field(20, description="Most pages per symbol.")
    overlap_bars: Count = Field(3, description="Stored bars that are asked for again.")
    history_start: date | None = Field(None, description="First date of a first load; null: the lookback.")
    warmup_bars: Count = Field(100, description="Bars before the lookback on a first load.")


class RetrySettings(Section):
    """`data.retry.*`: passes over symbols that failed."""

    passes: AtLeastOne = Field(3, description="Passes over failed symbols.")
    pass_base_s: NonNegative = Field(5, description="First wait between passes, in seconds.")
    pass_cap_s: NonNegative = Field(60, description="Longest wait between passes, in seconds.")


class RepairSettings(Section):
    """`data.repair.*`: filling gaps from the venue."""

    max_gaps: Count = Field(15, description="Gap windows per symbol, newest first.")
    passes: AtLeastOne = Field(2, description="Passes over failed windows.")
    recheck_days: Count = Field(30, description="Days before a confirmed gap is asked for again.")


class MetadataSettings(Section):
    """`data.metadata.*`: completeness of instrument rules."""

    defaults: dict[str, dict[str, Any]] = Field(
        {}, description="Exchange to tick, lot and precision, where the venue publishes none."
    )
    floor: Fraction = Field(0.95, description="Least share of candidates with complete metadata.")


class GcSettings(Section):
    """`data.gc.*`: what may be collected."""

    grace_days: NonNegative = Field(7, description="Age before an unreferenced file is removed, in days.")


class PromotionSettings(Section):
    """`data.promotion.*`: evidence that a promotion needs."""

    required_stages: tuple[str, ...] = Field(
        ("price_ingest", "feature_ingest"), description="Coverage stages that must be complete."
    )


class DataSettings(Section):
    """`data.*`: history rules, strictness and DataOps."""

    lookback_days: Annotated[int, Field(ge=2)] = Field(500, description="Sessions of the foundation window.")
    min_days_floor: Annotated[int, Field(ge=2)] = Field(320, description="Fewest observations of an asset.")
    max_gap_share: Fraction = Field(0.10, description="Largest share of sessions without a bar.")
    max_zero_share: Fraction = Field(0.10, description="Largest share of zero returns on real sessions.")
    min_row_retention: Fraction = Field(0.90, description="Share of rows that the density rule keeps.")
    strict: bool = Field(False, description="Stale, degraded and partial data are errors, not warnings.")
    strict_candidates: bool | None = Field(
        None, description="Invalid candidates fail; null: follows data.strict."
    )
    strict_isolation: bool = Field(True, description="Stages read the run directory and the snapshot only.")
    calendars: dict[str, CalendarCode] = Field(CALENDARS, description="Exchange prefix to calendar code.")
    fx_shift_hours: NonNegative = Field(4, description="Shift of the 24x5 session label, in hours.")
    writer_wait_s: NonNegative = Field(
        60, description="Longest wait of a writer that loses commit races, in seconds."
    )
    http: HttpSettings = Field(default_factory=HttpSettings, description="Requests of DataOps.")
    freshness: FreshnessSettings = Field(default_factory=FreshnessSettings, description="Age of bars.")
    gaps: GapSettings = Field(default_factory=GapSettings, description="Missing sessions.")
    toxicity: ToxicitySettings = Field(
        default_factory=ToxicitySettings, description="Bars that nobody should trade on."
    )
    ingest: IngestSettings = Field(default_factory=IngestSettings, description="Bars from the network.")
    retry: RetrySettings = Field(
        default_factory=RetrySettings, description="Passes over symbols that failed."
    )
    repair: RepairSettings = Field(default_factory=RepairSettings, description="Filling gaps from the venue.")
    metadata: MetadataSettings = Field(
        default_factory=MetadataSettings, description="Completeness of instrument rules."
    )
    gc: GcSettings = Field(default_factory=GcSettings, description="What may be collected.")
    promotion: PromotionSettings = Field(
        default_factory=PromotionSettings, description="Evidence of a promotion."
    )

    @model_validator(mode="after")
    def _floor_within_lookback(self) -> DataSettings:
        if self.min_days_floor > self.lookback_days:
            raise refusal("CONFIG_RANGE", "data.min_days_floor is above data.lookback_days")
        return self
