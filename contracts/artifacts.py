"""The artifact table: one row per file of a run directory.

A row gives an artifact's name (the argument name by which stages and gates ask for it), its path
below the run directory, its format and the contract that every writer and reader is held to.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from quantctl.contracts.errors import InternalError

Format = Literal["parquet", "json", "jsonl", "md", "html"]


class Artifact(BaseModel):
    """A reference to a written artifact: all that checkpoints and ledger rows ever hold of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    path: str  # relative to the run directory
    sha256: str
    rows: int | None
    bytes: int
    contract: str


class Row(NamedTuple):
    """`contract` is `module:Name` below `quantctl.contracts`, or empty for free-form text.

    `timed` files carry time by nature: no other file or record holds their sha256.
    """

    path: str
    format: Format
    contract: str = ""
    timed: bool = False


_GATE = "records.verdict:Verdict"

ARTIFACTS: dict[str, Row] = {
    # 1 foundation gate
    "resolved_manifest": Row(
        "config/resolved_manifest.json", "json", "records.manifest:Manifest", timed=True
    ),
    "lake_snapshot": Row("data/lake_snapshot.json", "json", "records.snapshot:LakeSnapshot"),
    "gate_foundation": Row("data/gates/foundation.json", "json", _GATE),
    # 2 recruitment
    "portfolio_candidates_raw": Row(
        "data/portfolio_candidates_raw.json", "json", "records.candidates:RawPool"
    ),
    "candidates_funnel": Row("data/candidates_funnel.parquet", "parquet", "frames.candidates:Funnel"),
    "foundation_report": Row("data/foundation_report.json", "json", "records.foundation:FoundationReport"),
    "returns_matrix": Row("data/returns_matrix.parquet", "parquet", "frames.returns:ReturnsMatrix"),
    "gate_candidates": Row("data/gates/candidates.json", "json", _GATE),
    "gate_l0": Row("data/gates/l0_returns.json", "json", _GATE),
    # 3 natural selection
    "features_matrix": Row("data/features_matrix.parquet", "parquet", "frames.features:FeatureStoreSlice"),
    "selection_features": Row("data/selection_features.parquet", "parquet", "frames.features:FeatureFrame"),
    "selection_scores": Row("data/selection_scores.parquet", "parquet", "frames.selection:Scores"),
    "null_calibration": Row("data/null_calibration.parquet", "parquet", "frames.selection:NullCalibration"),
    "selection_clusters": Row("data/selection_clusters.json", "json", "records.clusters:SelectionClusters"),
    "portfolio_candidates": Row("data/portfolio_candidates.json", "json", "records.selection:Winners"),
    "selection_audit": Row("data/selection_audit.json", "json", "records.selection:SelectionAudit"),
    "gate_l1_l2": Row("data/gates/selection.json", "json", _GATE),
    "gate_winners": Row("data/gates/winner_floor.json", "json", _GATE),
    # 4 enrichment
    "portfolio_meta": Row("data/portfolio_meta.json", "json", "records.selection:PortfolioMeta"),
    "gate_enrichment": Row("data/gates/enrichment.json", "json", _GATE),
    # 5 synthesis
    "synthetic_returns": Row("data/synthetic_returns.parquet", "parquet", "frames.synthesis:Streams"),
    "atoms": Row("data/atoms.parquet", "parquet", "frames.synthesis:Atoms"),
    "synthetic_gates": Row("data/synthetic_gates.parquet", "parquet", "frames.synthesis:Gates"),
    "gate_l3": Row("data/gates/synthesis.json", "json", _GATE),
    "sign_test_pre_opt": Row("data/directional_sign_test_pre_opt.json", "json", _GATE),
    # 6 regime
    "regime": Row("data/regime.json", "json", "records.regime:RegimeRecord"),
    "gate_regime": Row("data/gates/regime.json", "json", _GATE),
    # 7 optimisation
    "portfolio_clusters": Row("data/portfolio_clusters.json", "json", "records.clusters:PortfolioClusters"),
    "portfolio_optimized_v2": Row(
        "data/portfolio_optimized_v2.json", "json", "records.weights:SolverPortfolio"
    ),
    "risk_model": Row("data/risk_model.parquet", "parquet", "frames.allocation:RiskModelFrame"),
    "allocation_trace": Row("data/allocation_trace.json", "json", "records.allocation:AllocationTrace"),
    "infeasibility": Row("data/infeasibility.json", "json", "records.allocation:Infeasibility"),
    "gate_l4_synthetic": Row("data/gates/weights_synthetic.json", "json", _GATE),
    "sign_test": Row("data/directional_sign_test.json", "json", _GATE),
    # 8 flattening
    "portfolio_flattened": Row("data/portfolio_flattened.json", "json", "records.weights:PhysicalPortfolio"),
    "gate_l4_physical": Row("data/gates/weights_physical.json", "json", _GATE),
    # 9 forensic report and validation
    "report_md": Row("reports/portfolio/report.md", "md"),
    "report_html": Row("reports/portfolio/report.html", "html"),
    "ledger_verdict": Row("data/ledger_verdict.json", "json", _GATE),
    "atomic_validation": Row(
        "reports/validation/atomic_validation_{profile}_{run_id}.json",
        "json",
        "records.validation:AtomicValidation",
    ),
    "atomic_validation_md": Row("reports/validation/atomic_validation_{profile}_{run_id}.md", "md"),
    # batches
    "batch": Row("data/batch.json", "json", "records.batch:Batch"),
    # DataOps
    "import_report": Row("reports/import_report.json", "json"),
    "price_ingest_coverage": Row(
        "reports/coverage/price_ingest_coverage.json", "json", "records.coverage:Coverage", timed=True
    ),
    "feature_ingest_coverage": Row(
        "reports/coverage/feature_ingest_coverage.json", "json", "records.coverage:Coverage", timed=True
    ),
    "health_report": Row("reports/health.json", "json"),
    "health_clearance": Row("reports/health_clearance.json", "json"),
    "feature_report": Row("reports/feature_validation.json", "json"),
    "metadata_report": Row("reports/metadata.json", "json"),
    "scan_records": Row("reports/scans.json", "json"),
    "candidates_export": Row("reports/candidates.json", "json"),
    "candidates_rejected": Row("reports/rejected.json", "json"),
    "publish_report": Row("reports/publish.json", "json"),
    # projections and audits, outside the stages
    "audit_ledger": Row("audit.jsonl", "jsonl", timed=True),
    "audit_head": Row("audit_head.json", "json", timed=True),
    "forensic_trace": Row("forensic_trace.json", "json", timed=True),
    "index": Row("INDEX.md", "md"),
    "sign_test_pre_opt_audit": Row("data/directional_sign_test_pre_opt_audit.json", "json", _GATE),
    "sign_test_audit": Row("data/directional_sign_test_audit.json", "json", _GATE),
    "ledger_audit": Row("data/ledger_audit.json", "json", _GATE),
    "atomic_audit": Row(
        "reports/validation/atomic_audit_{profile}_{run_id}.json",
        "json",
        "records.validation:AtomicValidation",
    ),
    "atomic_audit_md": Row("reports/validation/atomic_audit_{profile}_{run_id}.md", "md"),
}

# Slices of the pinned snapshot that stages may name as arguments; resolved by the stage runner.
LAKE_INPUTS: dict[str, str] = {
    "lake_record": "the pinned snapshot down to its parts, as data/lake_snapshot.json keeps it",
    "lake_manifest": "facts of the pinned snapshot: id, as_of, tables, hashes, feature definition",
    "lake_coverage": "coverage entries carried by the snapshot, each file re-hashed",
    "lake_candidates": "candidate rows of the profile's scanners at the as-of date",
    "lake_funnel": "scan funnel of those scanners at the as-of date",
    "lake_symbols": "symbol dimension with base, quote, type, visible at the as-of date",
    "lake_metadata": "execution metadata valid at the as-of date, one row per symbol",
    "lake_health": "health status and reasons per symbol, judged at the as-of date",
    "lake_sessions": "calendar sessions up to the as-of date",
    "lake_features_latest": "newest feature row per symbol with date <= as-of",
    "lake_bars": "daily bars <= as-of of pool, reference and benchmark symbols",
    "lake_features": "feature rows <= as-of of the pool symbols",
}

# Shared derived tables, passed in by the runner.
TABLES: dict[str, str] = {
    "null_tables": "null distributions of the predictability and regime statistics, by (metric, n)",
}

# What only `report.validation` and its gates may ask for.
RUN_INPUTS: dict[str, str] = {
    "ledger_records": "the records of the run so far, in sequence",
    "ledger_projection": "the bytes of audit.jsonl",
    "run_files": "bytes of every file of the run directory by path (null: unreadable)",
}


def path_of(name: str, *, profile: str, run_id: str) -> str:
    """Path of an artifact below the run directory."""
    return ARTIFACTS[name].path.format(profile=profile, run_id=run_id)


def contract_of(name: str) -> Any | None:
    """The pandera schema or pydantic model of an artifact; imported on demand (pandera is slow)."""
    reference = ARTIFACTS[name].contract
    if not reference:
        return None
    module, _, attribute = reference.partition(":")
    try:
        return getattr(import_module(f"quantctl.contracts.{module}"), attribute)
    except (ImportError, AttributeError) as problem:
        raise InternalError(
            "INTERNAL", f"artifact {name} names no contract: {problem}", where=reference
        ) from None
