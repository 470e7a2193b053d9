"""The pipelines: which stages and gates make a run, in order, by where they stand.

A name is `room.package.module:function` below `quantctl`. Stages and gates carry their ids
themselves; gates attach to the stage they name.
"""

from __future__ import annotations

from quantctl.contracts.errors import ConfigError

ALPHA = (
    "steps.l0_foundation.gate:foundation_gate",
    "steps.l1_ingestion.recruitment:recruit",
    "steps.l2_selection.frame:build_features",
    "steps.l2_selection.inference:infer",
    "steps.l2_selection.clustering:cluster",
    "steps.l2_selection.policy:decide",
    "steps.l2_selection.enrichment:enrich",
    "steps.l3_synthesis.synthesis:synthesise",
    "steps.l4_allocation.regime:detect_regime",
    "steps.l4_allocation.allocation:allocate",
    "steps.l4_allocation.flatten:flatten",
    "steps.reporting.report:report",
    "steps.reporting.validation:validate",
)

PIPELINES: dict[str, tuple[str, ...]] = {
    "alpha.full": ALPHA,
    "selection.full": (*ALPHA[:6], ALPHA[7]),
}

GATES: tuple[str, ...] = (
    "steps.l0_foundation.gate:judge_foundation",
    "steps.l1_ingestion.gates:judge_candidates",
    "steps.l1_ingestion.gates:judge_l0",
    "steps.l2_selection.gates:judge_l1_l2",
    "steps.l2_selection.gates:judge_winner_floor",
    "steps.l2_selection.gates:judge_enrichment",
    "steps.l3_synthesis.gates:l3",
    "steps.l3_synthesis.sign_test:sign_test_pre_opt",
    "steps.l4_allocation.regime_gate:regime_gate",
    "steps.l4_allocation.gates:judge_synthetic",
    "steps.l3_synthesis.sign_test:sign_test_post_opt",
    "steps.l4_allocation.gates:judge_physical",
    "steps.reporting.validation:judge_ledger",
    "steps.reporting.validation:judge_run",
)


def check_pipeline(name: str) -> str:
    """Return `name` if such a pipeline exists, else raise `PIPELINE_UNKNOWN` (exit 2)."""
    if name not in PIPELINES:
        known = ", ".join(sorted(PIPELINES))
        raise ConfigError("PIPELINE_UNKNOWN", f"no pipeline {name!r}", remedy=f"choose one of {known}")
    return name
