"""`data/portfolio_candidates_raw.json`: the pool of a run, every row of its scanners with its fate."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class PoolVeto(BaseModel):
    """Why a row is not in the pool: code, measured value, limit (null where there is none)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    value: float | None = None
    limit: float | None = None


class PoolRow(BaseModel):
    """One candidate (symbol, logic, direction) at the as-of date.

    adv : mean daily quote turnover of the last 30 bars, USD; null when unknown
    vol_30 : standard deviation of the last 30 daily returns, a fraction
    adv_group : turnover of all listings of the identity together, USD per day
    implementation_alternatives : the other listings of the identity, most liquid first
    vetoes : empty for a row of the pool; a vetoed row is kept so that it can be explained
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    atom: str
    symbol: str
    exchange: str
    asset_type: str
    base_identity: str | None
    quote: str | None
    direction: str
    logic: str
    adv: float | None
    vol_30: float | None
    adv_group: float | None
    scanners: list[str]
    metadata: dict[str, Any]
    tick_size: float | None
    lot_size: float | None
    price_precision: int | None
    min_notional: float | None
    metadata_provenance: str | None
    calendar: str
    implementation_alternatives: list[str] = []
    vetoes: list[PoolVeto] = []

    @property
    def accepted(self) -> bool:
        """Whether the row belongs to the pool."""
        return not self.vetoes


class RawPool(BaseModel):
    """The pool of a run, sorted by (symbol, logic, direction)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    run_id: str
    profile: str
    as_of: str
    rows: list[PoolRow] = Field(default_factory=list)
