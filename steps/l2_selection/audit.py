"""`selection_audit`: why each candidate of the pool won or did not, in one record per run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from quantctl.contracts.canonical import hash_json
from quantctl.contracts.errors import ContractError
from quantctl.contracts.records.candidates import PoolRow, RawPool
from quantctl.contracts.records.clusters import SelectionClusters
from quantctl.contracts.records.foundation import FoundationReport
from quantctl.contracts.records.selection import (
    AuditGate,
    ClusterCount,
    Drop,
    Scarcity,
    SelectionAudit,
    StageAttempt,
    VetoRow,
    Winner,
    WinnerCore,
)
from quantctl.contracts.stage import RunFacts
from quantctl.steps.l2_selection.calibration import structural_bound
from quantctl.steps.l2_selection.decision import Decision, PolicyParams
from quantctl.steps.l2_selection.engines import SPEC_VERSION
from quantctl.steps.l2_selection.filters.friction import hurdle
from quantctl.steps.l2_selection.filters.veto import Veto
from quantctl.steps.l2_selection.ladder import Rung, scarcity_level


class Evidence(NamedTuple):
    """What the decision was made on. `hashes` : artifact name -> sha256."""

    pool: RawPool
    foundation: FoundationReport
    clusters: SelectionClusters
    nulls: pl.DataFrame
    hashes: Mapping[str, str | None]


def audit_of(decision: Decision, evidence: Evidence, params: PolicyParams, run: RunFacts) -> SelectionAudit:
    """The record of `decision`. It holds no time; hashes of run-bound files are those of their rows."""
    winners, clusters, last = decision.winners, evidence.clusters, decision.rungs[-1]
    n, floor = len(winners), params.htr.floor
    level = scarcity_level(n, floor)
    return SelectionAudit(
        schema_version="quantctl.selection_audit/1",
        run_id=run.run_id,
        profile=run.profile,
        trace_id=run.trace_id,
        decision_date=run.as_of,
        selection_mode=params.features.selection_mode,
        spec_version=SPEC_VERSION,
        scale=params.features.predictability_scale,
        input_hashes=_input_hashes(evidence),
        output_hashes=_output_hashes(winners, evidence.hashes),
        counts=_counts(decision, evidence),
        lookbacks_used=clusters.lookbacks_used,
        ridge=clusters.ridge,
        clusters=_cluster_counts(winners, clusters),
        relaxation_stage=last.number,
        forced=params.htr.relaxation_stage is not None,
        stages=[_attempt(decision, rung, params) for rung in decision.rungs],
        active_thresholds=thresholds_of(decision, last.number, params),
        winners=[_core(winner) for winner in winners],
        vetoes=fates(decision, evidence, params),
        foundation_drops=[
            Drop(symbol=drop.symbol, code=drop.code, value=drop.value, limit=drop.limit)
            for drop in evidence.foundation.drops
        ],
        relabelled=[],
        calibration=_calibration(evidence.nulls),
        warnings=[{"code": found.code, "detail": found.message} for found in decision.warnings],
        scarcity=Scarcity(level=level, n=n, floor=floor) if level else None,
        gate=_gate(n, floor),
    )


def fates(decision: Decision, evidence: Evidence, params: PolicyParams) -> dict[str, list[VetoRow]]:
    """Vetoes of each pool atom that did not win: of the pool, the foundation, the filters on the
    thresholds of the last rung, or, without any of these, the cap or the ladder.

    Raises `CANDIDATE_UNACCOUNTED` (exit 1) for a candidate that left the pool without a reason.
    """
    won = {winner.atom for winner in decision.winners}
    judged = decision.filtered.vetoes(decision.rungs[-1].number)
    drops = {drop.symbol: drop for drop in evidence.foundation.drops if "pool" in drop.roles}
    found: dict[str, list[VetoRow]] = {}
    for row in sorted(evidence.pool.rows, key=lambda row: row.atom):
        if row.atom in won:
            continue
        if row.vetoes:
            vetoes = [Veto(row.atom, v.code, v.value, v.limit, "consolidation") for v in row.vetoes]
        elif row.atom in decision.ranks:
            vetoes = judged.get(row.atom, []) if row.atom not in decision.capped else []
            vetoes = vetoes or [_left_out(row.atom, decision, params)]
        else:
            vetoes = [_dropped(row, drops)]
        found[row.atom] = [veto.row() for veto in vetoes]
    return found


def _left_out(atom: str, decision: Decision, params: PolicyParams) -> Veto:
    rank = float(decision.ranks[atom])
    if atom in decision.capped:
        return Veto(atom, "WINNER_CAP", rank, float(params.selection.max_winners), "recruitment")
    return Veto(atom, "NOT_RECRUITED", rank, None, "recruitment")


def _dropped(row: PoolRow, drops: Mapping[str, Any]) -> Veto:
    drop = drops.get(row.symbol)
    if drop is None:
        raise ContractError(
            "CANDIDATE_UNACCOUNTED",
            f"{row.atom} is neither a column of the returns matrix nor dropped by a rule",
            where=f"foundation_report:{row.symbol}",
        )
    return Veto(row.atom, drop.code, drop.value, drop.limit, "foundation")


def thresholds_of(decision: Decision, rung: int, params: PolicyParams) -> dict[str, float]:
    """Thresholds in force on `rung` 1..4."""
    limits, selection = decision.filtered.thresholds[min(rung, 2)], params.selection
    return {
        **limits._asdict(),
        "entropy_hard_stop": params.htr.entropy_hard_stop,
        "eci_hurdle": hurdle(params.features.eci_hurdle, selection.min_momentum_score),
        "min_momentum": selection.min_momentum_score,
        "top_n": float(selection.top_n),
        "distance": selection.clusters.threshold,
    }


def _attempt(decision: Decision, rung: Rung, params: PolicyParams) -> StageAttempt:
    vetoes = decision.filtered.vetoes(rung.number).values()
    codes = Counter(veto.code for found in vetoes for veto in found)
    return StageAttempt(
        stage=rung.number,
        thresholds=thresholds_of(decision, rung.number, params),
        n_winners=len(rung.winners),
        vetoes_by_code=dict(sorted(codes.items())),
    )


def _counts(decision: Decision, evidence: Evidence) -> dict[str, int]:
    accepted = [row for row in evidence.pool.rows if row.accepted]
    columns = set(evidence.foundation.columns("pool"))
    sides = Counter(winner.direction for winner in decision.winners)
    return {
        "raw": len(evidence.pool.rows),
        "after_consolidation": len(accepted),
        "after_foundation": sum(row.symbol in columns for row in accepted),
        "scored": len(decision.ranks),
        "eligible": len(set(decision.ranks) - decision.filtered.barred()),
        "selected": len(decision.winners),
        "selected_long": sides["LONG"],
        "selected_short": sides["SHORT"],
    }


def _cluster_counts(winners: list[Winner], clusters: SelectionClusters) -> dict[str, ClusterCount]:
    selected = Counter(winner.cluster for winner in winners)
    return {
        name: ClusterCount(size=len(found.members), selected=selected[name], rho_mean=found.mean_rho)
        for name, found in clusters.clusters.items()
    }


def _core(winner: Winner) -> WinnerCore:
    return WinnerCore.model_validate({name: getattr(winner, name) for name in WinnerCore.model_fields})


def _input_hashes(evidence: Evidence) -> dict[str, str | None]:
    return {
        "pool": hash_json([row.model_dump(mode="json") for row in evidence.pool.rows]),
        "returns_matrix": evidence.hashes.get("returns_matrix"),
        "features_matrix": evidence.hashes.get("features_matrix"),
        "profile": evidence.hashes.get("resolved_manifest"),
    }


def _output_hashes(winners: list[Winner], hashes: Mapping[str, str | None]) -> dict[str, str | None]:
    return {
        "winners": hash_json([winner.model_dump(mode="json") for winner in winners]),
        "scores": hashes.get("selection_scores"),
        "clusters": hashes.get("selection_clusters"),
    }


def _calibration(nulls: pl.DataFrame) -> list[dict[str, Any]]:
    return [
        {**row, "bound": structural_bound(row["metric"], row["n"])}
        for row in nulls.sort("metric", "n").select("metric", "n", "q999").to_dicts()
    ]


def _gate(n: int, floor: int) -> AuditGate:
    if n == 0:
        return AuditGate(status="FAIL", code="SELECTION_EMPTY")
    return AuditGate(status="PASS", code=None if n >= floor else "SCARCITY")
