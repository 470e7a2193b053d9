"""`data.metadata`: are the instrument rules of a date's candidates complete enough to trade by?"""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl

from quantctl.contracts.errors import DataMissing, DataUnhealthy
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.settings.discovery import DiscoverySettings
from quantctl.contracts.settings.universe import UniverseSettings
from quantctl.contracts.stage import Finding, Outcome, StageParams, stage
from quantctl.lake.snapshot import Lake, Snapshot
from quantctl.steps.l1_ingestion.rules import by_provenance, completeness, incomplete
from quantctl.workflows.dataops.lineage import newest
from quantctl.workflows.dataops.requests import PlainRequest


class RulesParams(StageParams):
    """What is asked of instrument rules, and of whose."""

    data: DataSettings
    discovery: DiscoverySettings
    universe: UniverseSettings


@stage("data.metadata", writes=("metadata_report",), params=RulesParams)
def check_rules(*, lake: Lake, request: PlainRequest, params: RulesParams) -> Outcome:
    """Report how complete instrument rules are; hold the share of complete candidates against the floor.

    `METADATA_INCOMPLETE` (exit 3) below `data.metadata.floor`. Raises `LAKE_MISSING`.
    """
    before = newest(lake)
    if before is None or "bars_1d" not in before.manifest.tables:
        raise DataMissing("LAKE_MISSING", "there are no instruments", remedy="quantctl data import PATH")
    as_of = request.as_of or before.as_of
    metadata, symbols = before.metadata(as_of), before.symbols(as_of)
    whole = completeness(metadata, symbols, symbols["symbol"].to_list())
    asked = _candidates(before, as_of, params)
    lacking = incomplete(metadata, symbols, asked, accept_inferred=params.universe.accept_inferred_metadata)
    share = 1.0 - len(lacking) / len(asked) if asked else None
    report = {
        "schema_version": 1, "as_of": as_of.isoformat(), "snapshot": before.id,
        "provenance": by_provenance(whole), "floor": params.data.metadata.floor,
        "accept_inferred": params.universe.accept_inferred_metadata,
        "candidates": {"symbols": len(asked), "share": share, "incomplete": lacking},
        "missing": dict(whole.filter(~pl.col("complete")).select("symbol", "missing").iter_rows()),
    }  # fmt: skip
    error = _short(share, lacking, as_of, params)
    metrics = {"symbols": whole.height, "complete": int(whole["complete"].sum()), "candidates": len(asked)}
    return Outcome(
        {"metadata_report": report},
        findings=_findings(metadata, asked, lacking),
        metrics=metrics,
        error=error,
    )


def _candidates(before: Snapshot, as_of: date, params: RulesParams) -> list[str]:
    rows = before.table("candidates", start=as_of, end=as_of, columns=("scanner", "symbol"))
    names = params.discovery.scanners
    own = rows.filter(pl.col("scanner").is_in(list(names))) if names else rows
    return own["symbol"].unique(maintain_order=True).sort().to_list()


def _findings(metadata: pl.DataFrame, asked: list[str], lacking: list[str]) -> list[Finding]:
    backdated = metadata.filter((pl.col("provenance") == "backdated") & pl.col("symbol").is_in(asked)).height
    counted: dict[str, int] = {"METADATA_BACKDATED": backdated, "METADATA_INCOMPLETE": len(lacking)}
    return [
        Finding(level="WARN", code=code, message=f"{number} candidates", details={"symbols": number})
        for code, number in counted.items()
        if number
    ]


def _short(share: float | None, lacking: list[str], as_of: Any, params: RulesParams) -> DataUnhealthy | None:
    floor = params.data.metadata.floor
    if share is None or share >= floor:
        return None
    return DataUnhealthy(
        "METADATA_INCOMPLETE",
        f"rules of {share:.1%} of the candidates of {as_of} are complete, {floor:.1%} are asked for",
        where=lacking[0],
        remedy="quantctl data metadata FILE, or a profile with universe.accept_inferred_metadata",
    )  # fmt: skip
