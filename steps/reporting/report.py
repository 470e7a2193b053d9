"""Stage `report.forensic`: what the run found and why, for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from quantctl.contracts.records.allocation import AllocationTrace
from quantctl.contracts.records.clusters import SelectionClusters
from quantctl.contracts.records.foundation import FoundationReport
from quantctl.contracts.records.regime import RegimeRecord
from quantctl.contracts.records.selection import SelectionAudit, Winners
from quantctl.contracts.records.weights import PhysicalPortfolio, SolverPortfolio
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.report import ReportSettings
from quantctl.contracts.stage import Finding, Outcome, RunFacts, StageParams, stage
from quantctl.steps.reporting import facts as derive
from quantctl.steps.reporting.facts import Facts
from quantctl.steps.reporting.markdown import markdown


class ReportParams(StageParams):
    """Whether the page is written, and which risk profile leads."""

    report: ReportSettings
    allocation: AllocationSettings


@stage("report.forensic", writes=("report_md", "report_html"), params=ReportParams)
def report(
    candidates_funnel: pl.DataFrame, foundation_report: FoundationReport, selection_audit: SelectionAudit,
    portfolio_candidates: Winners, selection_clusters: SelectionClusters, regime: RegimeRecord,
    atoms: pl.DataFrame, synthetic_returns: pl.DataFrame, risk_model: pl.DataFrame,
    portfolio_optimized_v2: SolverPortfolio, portfolio_flattened: PhysicalPortfolio,
    allocation_trace: AllocationTrace, lake_coverage: Sequence[dict[str, Any]], params: ReportParams,
    run: RunFacts,
) -> Outcome:  # fmt: skip
    """Write the forensic report: Markdown, and one HTML page where its extra is installed.

    Writes `report_md` and, unless `report.html` is off, `report_html`; without matplotlib or Jinja2 the
    page is left out with WARN `REPORT_HTML_SKIPPED`. Raises nothing of its own.
    """
    primary, rate = params.allocation.primary_risk_profile, params.allocation.risk_free
    profiles = derive.profile_facts(
        portfolio_optimized_v2, portfolio_flattened, risk_model, synthetic_returns, run, rate
    )
    leading = next((profile.atoms for profile in profiles if profile.name == primary), {})
    ordered, corr = _ordered(atoms, risk_model)
    facts = Facts(
        run=run, primary=primary, simulated=any(row["source"] == "simulate" for row in lake_coverage),
        window=foundation_report.window, funnel=derive.funnel_of(candidates_funnel, selection_audit.counts),
        vetoes=derive.veto_counts(candidates_funnel, selection_audit),
        winners=sorted(portfolio_candidates.winners, key=lambda w: (w.direction, w.rank)),
        relaxation=_relaxation(selection_audit), regime=regime, profiles=profiles,
        clusters=derive.cluster_rows(selection_clusters, selection_audit),
        positions=_positions(portfolio_flattened, primary),
        risk=derive.risk_shares(leading, risk_model, run.annualisation), labels=derive.atom_labels(atoms),
        cluster_of=dict(zip(atoms["atom"].to_list(), atoms["cluster"].to_list(), strict=True)),
        ordered=ordered, correlation=corr, dates=synthetic_returns["date"].cast(pl.Date).to_list(),
        streams={n: derive.compounded(synthetic_returns, {n: 1.0}) for n in sorted(atoms["atom"].to_list())},
        model=allocation_trace.model, chosen_from=date.fromisoformat(allocation_trace.window.first),
        warnings=derive.warnings_of(foundation_report, selection_audit, regime, allocation_trace),
    )  # fmt: skip
    return _written(facts, html=params.report.html)


def _written(facts: Facts, *, html: bool) -> Outcome:
    outputs, findings = {"report_md": markdown(facts)}, []
    if html:
        try:
            from quantctl.steps.reporting.page import page

            outputs["report_html"] = page(facts)
        except ImportError as problem:
            findings.append(_skipped(problem))
    return Outcome(outputs=outputs, findings=findings, metrics={"positions": len(facts.positions)})


def _ordered(atoms: pl.DataFrame, risk_model: pl.DataFrame) -> tuple[list[str], derive.Floats]:
    """Atoms of the risk model by cluster, and their correlation in that order."""
    names = risk_model["atom"].to_list()
    ordered = derive.by_cluster(atoms, names)
    place = {name: k for k, name in enumerate(names)}
    rows = [place[name] for name in ordered]
    return ordered, derive.correlation(risk_model)[np.ix_(rows, rows)]


def _positions(physical: PhysicalPortfolio, primary: str) -> list[Any]:
    """Positions of the primary risk profile, largest net weight first, ties by symbol."""
    profile = physical.profiles.get(primary)
    assets = [] if profile is None else profile.assets
    return sorted(assets, key=lambda asset: (-abs(asset.Net_Weight), asset.Symbol))


def _relaxation(audit: SelectionAudit) -> str:
    tried = ", ".join(f"rung {rung.stage}: {rung.n_winners}" for rung in audit.stages)
    short = f" Scarcity {audit.scarcity.level}: floor {audit.scarcity.floor}." if audit.scarcity else ""
    return f"Engine {audit.selection_mode}; ladder ended at rung {audit.relaxation_stage} ({tried}).{short}"


def _skipped(problem: ImportError) -> Finding:
    return Finding(
        level="WARN",
        code="REPORT_HTML_SKIPPED",
        message=f"{problem.name} is not installed; the Markdown report has the same figures",
        details={"remedy": "pip install 'quantctl[report]'"},
    )
