"""The pipelines: which stages and gates make a run, in order, by where they stand.

A name is `room.package.module:function` below `quantctl`. Stages and gates carry their ids themselves.
"""

from __future__ import annotations

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.nearest import did_you_mean

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

FEATURES = "workflows.dataops.features:backfill_features"
AUDIT = "workflows.dataops.audit:audit_health"
CANDIDATES = "workflows.dataops.candidates:find_candidates"
METADATA = "workflows.dataops.rules:check_rules"
PUBLISH = "workflows.dataops.publish:publish"

PIPELINES: dict[str, tuple[str, ...]] = {
    "alpha.full": ALPHA,
    "selection.full": (*ALPHA[:6], ALPHA[7]),
    # A parent run: its children, each a run of its own, then their ends as one record (`fan_out`).
    "batch.full": ("steps.reporting.batch:collect",),
    # The offline cycle over bars that are in the lake; the rules of its candidates are judged before it ends.
    "data.full": (FEATURES, AUDIT, CANDIDATES, METADATA, PUBLISH),
    "data.import": ("workflows.dataops.importing:import_files",),
    "data.simulate": ("workflows.dataops.simulating:simulate_market",),
    "data.features": (FEATURES,),
    "data.audit": (AUDIT,),
    "data.metadata": (METADATA,),
    "data.candidates": (CANDIDATES, PUBLISH),
    "data.publish": (PUBLISH,),
    "data.clear": ("workflows.dataops.clearing:clear_finding",),
}

# The gates of each stage, in the order in which they judge.
GATES: dict[str, tuple[str, ...]] = {
    "foundation.gate": ("steps.l0_foundation.gate:judge_foundation",),
    "selection.ingestion": (
        "steps.l1_ingestion.gates:judge_candidates",
        "steps.l1_ingestion.gates:judge_l0",
    ),
    "selection.policy": (
        "steps.l2_selection.gates:judge_l1_l2",
        "steps.l2_selection.gates:judge_winner_floor",
    ),
    "selection.enrichment": ("steps.l2_selection.gates:judge_enrichment",),
    "selection.synthesis": (
        "steps.l3_synthesis.gates:l3",
        "steps.l3_synthesis.sign_test:sign_test_pre_opt",
    ),
    "allocation.regime": ("steps.l4_allocation.regime_gate:regime_gate",),
    "allocation.optimization": (
        "steps.l4_allocation.gates:judge_synthetic",
        "steps.l3_synthesis.sign_test:sign_test_post_opt",
    ),
    "allocation.flattening": ("steps.l4_allocation.gates:judge_physical",),
    "report.validation": (
        "steps.reporting.validation:ledger_gate",
        "steps.reporting.validation:atomic_validation",
    ),
}


def check_pipeline(name: str) -> str:
    """Return `name` if such a pipeline exists, else raise `PIPELINE_UNKNOWN` (exit 2)."""
    if name not in PIPELINES:
        known = ", ".join(sorted(PIPELINES))
        hint = did_you_mean(name, PIPELINES)
        raise ConfigError("PIPELINE_UNKNOWN", f"no pipeline {name!r}{hint}", remedy=f"choose one of {known}")
    return name
