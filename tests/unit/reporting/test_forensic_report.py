"""The forensic report: its figures add up, its bytes repeat, and it says what it does not know."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace as Record

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.report import ReportSettings
from quantctl.contracts.stage import RunFacts
from quantctl.steps.reporting.facts import risk_shares
from quantctl.steps.reporting.report import ReportParams, report

ATOMS = [f"X:S{k:02d}_rating_all_{'LONG' if k % 2 else 'SHORT'}" for k in range(20)]
RUN = RunFacts(
    run_id="r1", profile="p", trace_id="0" * 32, pipeline="alpha.full", as_of="2024-06-01",
    snapshot="snap-1", manifest_sha256="a" * 64, annualisation=365, code_version="0",
)  # fmt: skip


def inputs():
    rng = np.random.default_rng(1)
    start = datetime(2023, 1, 1, tzinfo=UTC)
    dates = pl.Series("date", [start + timedelta(days=k) for k in range(400)]).cast(pl.Datetime("ns", "UTC"))
    streams = pl.DataFrame({"date": dates, **{name: rng.normal(0, 0.02, 400) for name in ATOMS}})
    solver = Record(status="OPTIMAL", reason=None, assets=[Record(Symbol=n, Weight=0.05) for n in ATOMS],
                    conditioning=Record(kappa=12.0), constraints=Record(beta=None))  # fmt: skip
    assets = [Record(Symbol=f"X:S{k:02d}", Weight=0.05, Net_Weight=-0.05 if k % 2 == 0 else 0.05,
                     Direction="SHORT" if k % 2 == 0 else "LONG") for k in range(20)]  # fmt: skip
    component = Record(z=1.5, contribution=0.2)
    return {
        "candidates_funnel": pl.DataFrame({"symbol": ["X:A", "X:B"], "code": [None, "TURNOVER_LOW"]}),
        "foundation_report": Record(counts={"pool": 20}),
        "selection_audit": Record(counts={"raw": 30, "selected": 20},
                                  vetoes={"a": [Record(code="ENTROPY_HIGH")], "b": [Record(code="PEGGED")]}),
        "selection_clusters": Record(clusters={"1": Record(members=ATOMS[:12], mean_rho=0.4)}),
        "regime": Record(environment="NORMAL", regime="NORMAL", quadrant="NORMAL", score=1.2, n=400,
                         components={"vol": component}, warnings=[]),
        "atoms": pl.DataFrame({"atom": ATOMS}),
        "synthetic_returns": streams,
        "risk_model": pl.DataFrame({"atom": ATOMS, "vol": [0.02] * 20, "corr": np.eye(20).tolist()}),
        "portfolio_optimized_v2": Record(profiles={"hrp": solver}),
        "portfolio_flattened": Record(profiles={"hrp": Record(assets=assets)}),
        "params": ReportParams(report=ReportSettings(), allocation=AllocationSettings()),
        "run": RUN,
    }  # fmt: skip


def test_the_report_repeats_byte_for_byte_and_holds_no_date_of_its_own():
    first, second = report(**inputs()).outputs, report(**inputs()).outputs
    assert first == second
    assert "<dc:date>" not in first["report_html"]


def test_the_page_is_self_contained():
    html = report(**inputs()).outputs["report_html"]
    assert html.count("<svg") == 6
    assert "<script" not in html
    assert 'src="' not in html


def test_markdown_says_that_walk_forward_is_off():
    text = report(**inputs()).outputs["report_md"]
    assert "Walk-forward is off" in text
    assert "| ENTROPY_HIGH | 1 |" in text


def test_without_matplotlib_the_page_is_left_out_with_a_finding(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = report(**inputs())
    assert set(outcome.outputs) == {"report_md"}
    assert [finding.code for finding in outcome.findings] == ["REPORT_HTML_SKIPPED"]


def test_risk_shares_sum_to_one():
    model = pl.DataFrame({"atom": ["a", "b"], "vol": [0.01, 0.03], "corr": [[1.0, 0.2], [0.2, 1.0]]})
    shares = risk_shares({"a": 0.7, "b": 0.3}, model)
    assert sum(share for _, _, share in shares) == pytest.approx(1.0)
