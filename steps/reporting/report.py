"""Stage `report.forensic`: what the run found and why, for people."""

from __future__ import annotations

from typing import Any

import polars as pl

from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.report import ReportSettings
from quantctl.contracts.stage import Finding, Outcome, RunFacts, StageParams, stage
from quantctl.steps.reporting.facts import (
    Facts,
    compounded,
    funnel_of,
    profile_rows,
    risk_shares,
    veto_counts,
)
from quantctl.steps.reporting.markdown import markdown


class ReportParams(StageParams):
    """Whether the page is written, and which risk profile leads."""

    report: ReportSettings
    allocation: AllocationSettings


@stage("report.forensic", writes=("report_md", "report_html"), params=ReportParams)
def report(
    candidates_funnel: pl.DataFrame, foundation_report: Any, selection_audit: Any, selection_clusters: Any,
    regime: Any, atoms: pl.DataFrame, synthetic_returns: pl.DataFrame, risk_model: pl.DataFrame,
    portfolio_optimized_v2: Any, portfolio_flattened: Any, params: ReportParams, run: RunFacts,
) -> Outcome:  # fmt: skip
    """Write the forensic report: Markdown, and one HTML page where its extra is installed."""
    primary = params.allocation.primary_risk_profile
    weights = _weights(portfolio_optimized_v2, primary)
    growth, streams = compounded(synthetic_returns, weights)
    facts = Facts(
        run=run, primary=primary, atoms=atoms, regime=regime, growth=growth, streams=streams,
        funnel=funnel_of(candidates_funnel, selection_audit.counts), vetoes=veto_counts(selection_audit),
        positions=_positions(portfolio_flattened, primary), risk=risk_shares(weights, risk_model),
        profiles=profile_rows(portfolio_optimized_v2), clusters=_clusters(selection_clusters),
        dates=synthetic_returns["date"].cast(pl.Date).to_list(), counts=dict(foundation_report.counts),
    )  # fmt: skip
    outputs = {"report_md": markdown(facts)}
    findings = []
    if params.report.html:
        try:
            from quantctl.steps.reporting.page import page

            outputs["report_html"] = page(facts)
        except ImportError as problem:
            findings.append(_skipped(problem))
    return Outcome(outputs=outputs, findings=findings, metrics={"positions": len(facts.positions)})


def _weights(solver: Any, primary: str) -> dict[str, float]:
    profile = solver.profiles.get(primary)
    return {} if profile is None else {asset.Symbol: asset.Weight for asset in profile.assets}


def _positions(physical: Any, primary: str) -> list[tuple[str, float, float, str]]:
    profile = physical.profiles.get(primary)
    assets = [] if profile is None else profile.assets
    return [(a.Symbol, a.Net_Weight, a.Weight, a.Direction) for a in assets]


def _clusters(clusters: Any) -> list[tuple[str, int, float]]:
    """(id, members, mean correlation), largest first, ties by id."""
    rows = [(key, len(item.members), item.mean_rho) for key, item in clusters.clusters.items()]
    return sorted(rows, key=lambda row: (-row[1], int(row[0])))


def _skipped(problem: ImportError) -> Finding:
    return Finding(
        level="INFO",
        code="REPORT_HTML_SKIPPED",
        message=f"{problem.name} is not installed; the Markdown report has the same figures",
        details={"remedy": "pip install 'quantctl[report]'"},
    )
