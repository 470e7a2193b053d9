"""The decision of a run: winners, and the account of every candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from quantctl.contracts.records.selection import StageAttempt, Winners
from quantctl.contracts.stage import Finding, Outcome, RunFacts, stage
from quantctl.steps.l2_selection.audit import Evidence, audit_of
from quantctl.steps.l2_selection.decision import PolicyParams, choose

if TYPE_CHECKING:
    from quantctl.contracts.records.candidates import RawPool
    from quantctl.contracts.records.clusters import SelectionClusters
    from quantctl.contracts.records.foundation import FoundationReport


@stage("selection.policy", writes=("portfolio_candidates", "selection_audit"), params=PolicyParams)
def decide(
    portfolio_candidates_raw: RawPool,
    foundation_report: FoundationReport,
    selection_features: pl.DataFrame,
    selection_scores: pl.DataFrame,
    selection_clusters: SelectionClusters,
    null_calibration: pl.DataFrame,
    input_hashes: dict[str, str | None],
    params: PolicyParams,
    run: RunFacts,
) -> Outcome:
    """Decide the winners and account for every candidate of the pool."""
    decision = choose(selection_features, selection_scores, selection_clusters, params)
    winners = Winners(run_id=run.run_id, profile=run.profile, as_of=run.as_of, winners=decision.winners)
    evidence = Evidence(
        portfolio_candidates_raw, foundation_report, selection_clusters, null_calibration, input_hashes
    )
    audit = audit_of(decision, evidence, params, run)
    return Outcome(
        outputs={"portfolio_candidates": winners, "selection_audit": audit},
        findings=[*attempts(audit.stages), *decision.warnings],
        metrics={**audit.counts, "relaxation_stage": audit.relaxation_stage},
    )


def attempts(stages: list[StageAttempt]) -> list[Finding]:
    """One `STAGE_ATTEMPT` per rung tried: winners before the cap, what relaxes, vetoes by code."""
    return [
        Finding(
            level="INFO",
            code="STAGE_ATTEMPT",
            message=f"rung {tried.stage} admits {tried.n_winners}",
            details={
                "stage": tried.stage,
                "n_winners": tried.n_winners,
                **{name: tried.thresholds[name] for name in ("entropy_max", "efficiency_min")},
                "vetoes_by_code": tried.vetoes_by_code,
            },
        )
        for tried in stages
    ]
