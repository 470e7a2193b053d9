"""Records of selection: winners, the audit of every candidate, and the enriched winners."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from quantctl.contracts.records.clusters import Ridge

Direction = Literal["LONG", "SHORT"]
VetoClass = Literal["HARD", "STRATEGY", "SOFT", "NONE"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VetoRow(_Record):
    """Why an atom is not a winner. `class` NONE marks an eligible atom that was not recruited.

    value, limit : what was found and what the rule asks; null where the rule has no number
    stage : the rule's place: consolidation, foundation, features, scoring, a filter, percentile, recruitment
    """

    code: str
    class_: VetoClass = Field(alias="class")
    value: float | str | None
    limit: float | str | None
    stage: str

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class WinnerCore(_Record):
    """A winner as the audit names it.

    rank : 1.. within its direction; stage_admitted : rung 1..4 of the ladder
    note : why a relaxed rung admitted it: null, `cluster_floor` or `alpha_fallback`
    """

    atom: str
    symbol: str
    logic: str
    direction: Direction
    cluster: str
    alpha_score: float = Field(ge=0, le=1)
    rank_score: float | None
    rank: int = Field(ge=1)
    stage_admitted: int = Field(ge=1, le=4)
    note: Literal["cluster_floor", "alpha_fallback"] | None


class Winner(WinnerCore):
    """A winner with what later stages need. `adv` is in USD per day; `waived` lists its soft vetoes."""

    adv: float = Field(ge=0)
    base_identity: str
    exchange: str
    asset_type: str
    waived: list[str]


class Winners(_Record):
    """`data/portfolio_candidates.json`: the winner set, sorted by atom."""

    run_id: str
    profile: str
    as_of: str
    winners: list[Winner]

    @field_validator("winners")
    @classmethod
    def _sorted_once(cls, winners: list[Winner]) -> list[Winner]:
        atoms = [winner.atom for winner in winners]
        if atoms != sorted(set(atoms)):
            raise ValueError("winners are not distinct and sorted by atom")
        return winners


class StageAttempt(_Record):
    """One rung of the ladder: its thresholds, how many it admitted, and vetoes by code."""

    stage: int = Field(ge=1, le=4)
    thresholds: dict[str, float]
    n_winners: int = Field(ge=0)
    vetoes_by_code: dict[str, int]


class Scarcity(_Record):
    """Fewer winners than the floor."""

    level: Literal["SCARCE", "ULTRA_SPARSE", "EMPTY"]
    n: int = Field(ge=0)
    floor: int


class AuditGate(_Record):
    """How the winner floor judges this selection."""

    status: Literal["PASS", "FAIL"]
    code: str | None


class ClusterCount(_Record):
    """A cluster: pool members, winners, mean raw correlation of its members."""

    size: int
    selected: int
    rho_mean: float


class Drop(_Record):
    """A symbol dropped by a foundation rule."""

    symbol: str
    code: str
    value: float | str | None
    limit: float | str | None


class SelectionAudit(_Record):
    """`data/selection_audit.json`: every raw-pool atom once, among the winners or in `vetoes`."""

    schema_version: Literal["quantctl.selection_audit/1"]
    run_id: str
    profile: str
    trace_id: str
    decision_date: str
    selection_mode: str
    spec_version: str
    scale: Literal["raw", "calibrated"]
    input_hashes: dict[str, str | None]
    output_hashes: dict[str, str | None]
    counts: dict[str, int]
    lookbacks_used: list[int]
    ridge: list[Ridge]
    clusters: dict[str, ClusterCount]
    relaxation_stage: int = Field(ge=1, le=4)
    forced: bool
    stages: list[StageAttempt]
    active_thresholds: dict[str, float]
    winners: list[WinnerCore]
    vetoes: dict[str, list[VetoRow]]
    foundation_drops: list[Drop]
    relabelled: list[str]
    calibration: list[dict[str, Any]]
    warnings: list[dict[str, Any]]
    scarcity: Scarcity | None
    gate: AuditGate

    @model_validator(mode="after")
    def _every_atom_once(self) -> SelectionAudit:
        both = {winner.atom for winner in self.winners} & set(self.vetoes)
        if both:
            raise ValueError(f"atoms stand among winners and vetoes: {sorted(both)[:3]}")
        if self.counts.get("raw") != len(self.winners) + len(self.vetoes):
            raise ValueError("winners and vetoes do not cover the raw pool")
        return self


class MetaRow(Winner):
    """A winner with execution metadata (venue units) and classification; null where nothing is known.

    A null tick, lot or precision is judged by gate `enrichment`; a null `min_notional` carries its reason.
    """

    tick_size: float | None = Field(gt=0)
    lot_size: float | None = Field(gt=0)
    price_precision: int | None = Field(ge=0)
    min_notional: float | None
    min_notional_reason: str | None
    min_qty: float | None
    max_qty: float | None
    contract_size: float | None
    metadata_provenance: str | None
    calendar: str
    base: str | None
    quote: str | None
    sector: str | None
    industry: str | None


class PortfolioMeta(_Record):
    """`data/portfolio_meta.json`: the winners in the same order, enriched."""

    run_id: str
    profile: str
    as_of: str
    rows: list[MetaRow]
