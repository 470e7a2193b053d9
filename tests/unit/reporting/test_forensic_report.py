"""The forensic report: its figures add up, its bytes repeat, and it says what it does not know."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.records.allocation import AllocationTrace
from quantctl.contracts.records.clusters import SelectionClusters
from quantctl.contracts.records.foundation import FoundationReport
from quantctl.contracts.records.regime import RegimeRecord
from quantctl.contracts.records.selection import SelectionAudit, Winners
from quantctl.contracts.records.weights import PhysicalPortfolio, SolverPortfolio
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.report import ReportSettings
from quantctl.contracts.stage import RunFacts
from quantctl.steps.reporting import plots
from quantctl.steps.reporting.facts import risk_shares
from quantctl.steps.reporting.report import ReportParams, report

RUN = RunFacts(
    run_id="r1", profile="binance_spot", trace_id="0" * 32, pipeline="alpha.full", as_of="2024-02-04",
    snapshot="snap-1", manifest_sha256="a" * 64, annualisation=365, code_version="0",
)  # fmt: skip
BASES = ["BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "AVAX", "LINK", "DOT", "LTC", "NEAR", "ATOM", "UNI",
"APT",
         "ARB", "OP", "FIL", "INJ", "SUI", "1000SATS", "TIA", "SEI", "RUNE", "AAVE"]  # fmt: skip
SYMBOLS = [f"BINANCE:{base}USDT" for base in BASES]
SIDES = ["SHORT" if k % 4 == 3 else "LONG" for k in range(len(SYMBOLS))]
ATOMS = [f"{s}_rating_all_{d}" for s, d in zip(SYMBOLS, SIDES, strict=True)]
CLUSTER = [str(1 + min(k // 7, 2)) for k in range(len(SYMBOLS))]
PROFILES = ("barbell", "equal_weight", "erc", "hrp", "max_sharpe", "min_variance")
ROWS = 400
ENVELOPE = {
    "run_id": "r1", "profile": RUN.profile, "trace_id": RUN.trace_id, "as_of": RUN.as_of,
    "annualisation": 365,
    "inputs": {}, "cluster_registry": {},
    "optimization": {"regime": {"name": "TURBULENT", "score": 1.38, "quadrant": "CRISIS"}},
    "metadata": {"code_version": "0", "kernel_version": "1", "flattened": False},
}  # fmt: skip


def market():
    rng = np.random.default_rng(5)
    common = rng.standard_t(5, ROWS) * 0.018
    own = np.stack([rng.standard_t(5, ROWS) * 0.014 for _ in range(3)])
    group = np.array([int(c) - 1 for c in CLUSTER])
    beta = rng.uniform(0.5, 1.3, len(ATOMS))
    returns = common[:, None] * beta + own[group].T + rng.standard_normal((ROWS, len(ATOMS))) * 0.012 + 0.001
    return np.clip(returns * np.where(np.array(SIDES) == "SHORT", -1, 1), -0.5, 0.6), rng


def weights(profile, rng):
    if profile == "max_sharpe":
        raw = np.where(np.arange(len(ATOMS)) % 3 == 0, rng.uniform(0.2, 1.0, len(ATOMS)), 0.0)
    else:
        raw = np.ones(len(ATOMS)) if profile == "equal_weight" else rng.uniform(0.3, 1.0, len(ATOMS)) ** 2
    return raw / raw.sum()


def portfolios(rng):
    solver, physical = {}, {}
    for name in PROFILES:
        w = weights(name, rng)
        bad = name == "barbell"
        held = [] if bad else [k for k in range(len(ATOMS)) if w[k] > 0]
        gated = [k for k in held if k % 11 == 5]
        cash = float(sum(w[k] for k in gated))
        net = float(sum(w[k] * (-1 if SIDES[k] == "SHORT" else 1) for k in held if k not in gated))
        status = "INFEASIBLE" if bad else "FALLBACK" if name == "min_variance" else "OPTIMAL"
        chain = [{"profile": "min_variance", "outcome": "SOLVER_FAILED", "code": "SOLVER_FAILED"},
                 {"profile": "erc", "outcome": "OPTIMAL"}]  # fmt: skip
        shared = {"status": status, "reason": "BARBELL_DEGENERATE" if bad else None,
                  "fallback_chain": chain if status == "FALLBACK" else []}  # fmt: skip
        solver[name] = shared | {
            "assets": [{"Symbol": ATOMS[k], "Weight": w[k], "Net_Weight": w[k], "Cluster_ID": CLUSTER[k],
                        "Cluster_Weight": 0.3, "Intra_Cluster_Weight": 0.1, "Type": "CORE"} for k in held],
            "clusters": [], "totals": {"gross": 0.0 if bad else 1.0, "net": 0.0 if bad else 1.0,
                                       "cash": 1.0 if bad else 0.0, "n_assets": len(held)},
            "constraints": {"cluster_cap": 0.25, "effective_cap": 0.3334, "weight_cap": 0.25,
                            "effective_weight_cap": 0.25, "cap_relaxed": name == "erc",
                            "beta": None if bad else 0.42, "beta_tolerance": None, "market_neutral": False},
            "conditioning": {"kappa": 48.2, "kappa_limit": 5000, "shrinkage": 0.02, "n_obs": 252,
                             "n_columns": len(ATOMS)},
            "solver": {"engine": "cvxpy", "formulation": name, "solver": "CLARABEL", "status": "OPTIMAL",
                       "iterations": 9},
        }  # fmt: skip
        physical[name] = shared | {
            "assets": [{"Symbol": SYMBOLS[k], "Weight": w[k], "Gross_Weight": w[k], "Netting": 0.0,
                        "Net_Weight": w[k] * (-1 if SIDES[k] == "SHORT" else 1), "Direction": SIDES[k],
                        "Contributors": [], "Cluster_ID": CLUSTER[k]} for k in held if k not in gated],
            "inactive": [{"atom": ATOMS[k], "weight": w[k]} for k in gated],
            "totals": {"gross": 0.0 if bad else 1.0 - cash, "net": net, "abs_net": abs(net), "netting": 0.0,
                       "cash": 1.0 if bad else 0.0, "gated_cash": cash, "self_financing_cash": 0.0,
                       "n_assets": len(held) - len(gated), "long_gross": 0.5, "short_gross": 0.2},
        }  # fmt: skip
    return (SolverPortfolio.model_validate(ENVELOPE | {"profiles": solver}),
            PhysicalPortfolio.model_validate(ENVELOPE | {"profiles": physical}))  # fmt: skip


def selection():
    core = [
        {"atom": a, "symbol": s, "logic": "rating_all", "direction": d, "cluster": c,
        "alpha_score": 0.82 - k / 100,
         "rank_score": 0.5, "rank": k + 1, "stage_admitted": 1 + k // 18, "note": None}
        for k, (a, s, d, c) in enumerate(zip(ATOMS, SYMBOLS, SIDES, CLUSTER, strict=True))
    ]  # fmt: skip
    rows = [
        row | {"adv": 4e8 / (k + 1), "base_identity": BASES[k], "exchange": "BINANCE", "asset_type": "spot",
        "waived": []}
        for k, row in enumerate(core)
    ]  # fmt: skip
    codes = [("DUPLICATE_IDENTITY", "HARD", "consolidation"), ("HISTORY_SHORT", "HARD", "foundation"),
             ("ENTROPY_HIGH", "STRATEGY", "predictability"), ("EFFICIENCY_LOW", "SOFT", "predictability"),
             ("PERCENTILE", "STRATEGY", "percentile")]  # fmt: skip
    vetoes = {
        f"BINANCE:V{k:03d}USDT_rating_all_LONG": [
            {"code": code, "class": kind, "value": 0.99, "limit": 0.9, "stage": place}
            for code, kind, place in [codes[(k * k + k // 3) % 5]]
        ]
        for k in range(90)
    }  # fmt: skip
    counts = {"raw": 114, "after_consolidation": 102, "after_foundation": 88, "scored": 88, "eligible": 41,
              "selected": 24, "selected_long": 18, "selected_short": 6}  # fmt: skip
    clusters = {
        c: {"size": CLUSTER.count(c) + 9, "selected": CLUSTER.count(c), "rho_mean": 0.5} for c in "123"
    }
    audit = SelectionAudit.model_validate({
        "schema_version": "quantctl.selection_audit/1", "run_id": "r1", "profile": RUN.profile,
        "trace_id": "0" * 32,
        "decision_date": RUN.as_of, "selection_mode": "v4", "spec_version": "1", "scale": "calibrated",
        "input_hashes": {}, "output_hashes": {}, "counts": counts, "lookbacks_used": [60, 120], "ridge": [],
        "clusters": clusters, "relaxation_stage": 2, "forced": False,
        "stages": [{"stage": 1, "thresholds": {}, "n_winners": 18, "vetoes_by_code": {}},
                   {"stage": 2, "thresholds": {}, "n_winners": 24, "vetoes_by_code": {}}],
        "active_thresholds": {}, "winners": core, "vetoes": vetoes, "foundation_drops": [], "relabelled": [],
        "calibration": [], "warnings": [{"code": "CALIBRATION_THIN", "message": "few rows", "symbol": None}],
        "scarcity": None, "gate": {"status": "PASS", "code": None},
    })  # fmt: skip
    winners = Winners.model_validate(
        {
            "run_id": "r1",
            "profile": RUN.profile,
            "as_of": RUN.as_of,
            "winners": sorted(rows, key=lambda r: r["atom"]),
        }
    )
    return audit, winners


def regime():
    contributions = {"vol_ratio": (1.31, 0.21), "entropy": (0.62, -0.06), "tail_ratio": (1.9, 0.15),
                     "mean_correlation": (0.55, 0.11), "turbulence": (0.4, 0.04), "dispersion": (0.02,
                     -0.07)}  # fmt: skip
    return RegimeRecord.model_validate({
        "n": 252, "regime": "TURBULENT", "score": 1.38, "quadrant": "CRISIS", "environment": "CRISIS",
        "reason": None,
        "components": {
            name: {"raw": raw, "raw_reason": None, "mu0": raw * 0.9, "sd0": 0.1, "z": 10 * c,
            "contribution": c}
            for name, (raw, c) in contributions.items()
        },
        "growth": {"ann": -0.21, "t": -1.2, "t_reason": None},
        "hmm": {"state": "NORMAL", "accepted": False, "reason": "BIC", "sigma_lo": 0.01, "sigma_hi": 0.03,
        "p_hi": 0.2,
                "bic1": 1.0, "bic_mix": 1.0, "bic_hmm": 1.0, "trans": None},
        "warnings": [],
    })  # fmt: skip


def inputs(coverage=({"source": "import"},), **changed):
    streams, rng = market()
    audit, winners = selection()
    solver, physical = portfolios(rng)
    start = datetime(2023, 1, 1, tzinfo=UTC)
    dates = pl.Series("date", [start + timedelta(days=k) for k in range(ROWS)]).cast(pl.Datetime("ns", "UTC"))
    names = sorted(ATOMS)
    order = [ATOMS.index(name) for name in names]
    model = {"kappa_before": 812.4, "kappa_after": 48.2, "kappa_limit": 5000, "intensity": 0.0,
    "shrinkage": 0.031,
             "covariance": "ledoit_wolf", "degenerate": [], "duplicates": []}  # fmt: skip
    trace = {"status": "OPTIMAL", "used": "x", "attempts": [], "kkt": None, "objective": None,
             "objective_penalised": None, "duals": {}, "active": [], "warnings": [], "dropped": [],
             "certificate": None, "notes": {}}  # fmt: skip
    scan = [
        (f"BINANCE:F{k:03d}USDT", ["TURNOVER_LOW", "RATING_LOW", "STABLECOIN"][k % 7 % 3]) for k in range(180)
    ]
    return {
        "candidates_funnel": pl.DataFrame(
            {"symbol": [s for s, _ in scan] + SYMBOLS, "code": [c for _, c in scan] + [None] * len(SYMBOLS)}
        ),
        "foundation_report": FoundationReport.model_validate({
            "run_id": "r1", "profile": RUN.profile, "as_of": RUN.as_of, "annualisation": 365,
            "calendars": ["24x7"],
            "window": {"first": "2023-01-01", "last": "2024-02-04", "sessions": ROWS},
            "floor": {"configured": 252, "effective": 360}, "counts": {"pool": 88}, "drops": [],
            "notes": [{"level": "WARN", "code": "METADATA_BACKDATED",
            "message": "first row serves earlier dates"}],
            "dropped_rows": {}, "column_roles": {}, "assets": [],
        }),
        "selection_audit": audit,
        "portfolio_candidates": winners,
        "selection_clusters": SelectionClusters.model_validate({
            "lookbacks_used": [60], "threshold": 0.5, "max_clusters": 12, "ridge": [], "linkage": [],
            "clusters": {c: {"members": [s for s, k in zip(SYMBOLS, CLUSTER, strict=True) if k == c],
            "mean_rho": 0.5}
                         for c in "123"},
        }),
        "regime": regime(),
        "atoms": pl.DataFrame({
            "atom": names, "symbol": [SYMBOLS[k] for k in order], "logic": "rating_all",
            "direction": [SIDES[k] for k in order], "cluster": [CLUSTER[k] for k in order],
        }),
        "synthetic_returns": pl.DataFrame(
            {"date": dates, **{n: streams[:, k] for n, k in zip(names, order, strict=True)}}
        ),
        "risk_model": pl.DataFrame({
            "atom": names, "vol": streams[:, order].std(axis=0), "mu": 365 * streams[:, order].mean(axis=0),
            "beta": [None] * len(names), "corr": np.corrcoef(streams[:, order].T).tolist(),
        }),
        "portfolio_optimized_v2": solver,
        "portfolio_flattened": physical,
        "allocation_trace": AllocationTrace.model_validate({
            "run_id": "r1", "allocation_ids": {}, "kernel_version": "1", "engine": "cvxpy",
            "window": {"first": "2023-05-29", "last": "2024-02-04", "rows": 252}, "atoms": names,
            "benchmark": None,
            "benchmark_rows": 0, "model": model,
            "profiles": {"erc": trace | {"warnings": ["CAP_RELAXED"]}},
        }),
        "lake_coverage": list(coverage),
        "params": ReportParams(report=ReportSettings(), allocation=AllocationSettings()),
        "run": RUN,
    } | changed  # fmt: skip


@pytest.fixture(scope="module")
def written():
    return report(**inputs()).outputs


_DIGEST = """
import hashlib, runpy, sys
test = runpy.run_path(sys.argv[1])
outputs = test["report"](**test["inputs"]()).outputs
print({name: hashlib.sha256(text.encode()).hexdigest() for name, text in sorted(outputs.items())})
"""


def test_two_processes_with_different_hash_seeds_write_the_same_bytes():
    def digest(seed):
        run = subprocess.run(
            [sys.executable, "-c", _DIGEST, __file__], env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        return run.stdout

    first = digest("1")
    assert "report_html" in first
    assert digest("2") == first


def test_two_runs_in_one_process_draw_one_after_the_other(written, monkeypatch):
    """The style of a plot is the process's: whoever ends first must not take it from the other."""
    growth, svg, drawn, others, entered = plots._growth, plots._svg, [], [], threading.Event()

    def seen(facts):
        drawn.append(facts)
        return growth(facts)

    def crowded(paint, size, title):
        if threading.current_thread() is not threading.main_thread():
            entered.set()
        elif not others:  # the first figure of all: now another run wants to draw
            others.append(ThreadPoolExecutor(1).submit(plots.draw, drawn[0]))
            assert not entered.wait(timeout=1.0)
        return svg(paint, size, title)

    monkeypatch.setattr(plots, "_growth", seen)
    monkeypatch.setattr(plots, "_svg", crowded)
    assert report(**inputs()).outputs == written
    assert set(others[0].result(timeout=120)) == {"growth", "correlation", "risk", "regime"}


def test_the_page_is_self_contained_and_small(written):
    html = written["report_html"]
    assert "://" not in html
    assert re.findall(r'(?:src|href)="(?!data:|#)', html) == []
    assert "<script" not in html
    assert "<dc:date>" not in html
    assert len(html) < 1_000_000


def test_every_plot_has_an_alternative_text(written):
    assert (
        written["report_html"].count('<svg role="img" aria-label="')
        == written["report_html"].count("<svg")
        == 4
    )


def test_markdown_tables_are_aligned(written):
    blocks = re.findall(r"(?:^\|.*\n)+", written["report_md"], flags=re.MULTILINE)
    assert len(blocks) >= 8
    for block in blocks:
        assert len({len(line) for line in block.splitlines()}) == 1


def test_markdown_says_that_walk_forward_is_off(written):
    assert "Walk-forward is off (`backtest.enabled: false`)" in written["report_md"]


def test_vetoes_are_counted_from_the_scan_to_the_percentile(written):
    rows = re.findall(
        r"^\| (\w+) +\| (\w+) +\| (\w+) +\| +(\d+) \|$", written["report_md"], flags=re.MULTILINE
    )
    stages = [row[0] for row in rows]
    assert stages[0] == "scan"
    assert sum(int(row[3]) for row in rows if row[0] == "scan") == 180
    assert sum(int(row[3]) for row in rows if row[0] != "scan") == 90


def test_a_profile_without_weights_has_no_volatility(written):
    line = next(row for row in written["report_md"].splitlines() if row.startswith("| barbell"))
    assert [cell.strip() for cell in line.strip("|").split("|")][2:8] == ["0", "–", "–", "–", "–", "–"]


def test_a_fallback_is_shown_with_its_chain(written):
    assert "min_variance SOLVER_FAILED > erc OPTIMAL" in written["report_md"]
    assert "min_variance SOLVER_FAILED &gt; erc OPTIMAL" in written["report_html"]


def test_simulated_data_are_labelled(written):
    outputs = report(**inputs(coverage=({"source": "simulate"},))).outputs
    assert all("The data are simulated" in text for text in outputs.values())
    assert all("The data are simulated" not in text for text in written.values())


def test_markup_in_a_name_is_escaped():
    run = RUN.model_copy(update={"profile": "<b>p</b>"})
    assert "<b>p</b>" not in report(**inputs(run=run)).outputs["report_html"]


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_without_the_extra_the_page_is_left_out_with_a_warning(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    outcome = report(**inputs())
    assert set(outcome.outputs) == {"report_md"}
    assert [(f.level, f.code) for f in outcome.findings] == [("WARN", "REPORT_HTML_SKIPPED")]


def test_the_page_can_be_turned_off():
    params = ReportParams(report=ReportSettings(html=False), allocation=AllocationSettings())
    outcome = report(**inputs(params=params))
    assert set(outcome.outputs) == {"report_md"}
    assert outcome.findings == []


def test_risk_shares_sum_to_one_and_do_not_depend_on_the_unit():
    model = pl.DataFrame({"atom": ["a", "b"], "vol": [0.01, 0.03], "corr": [[1.0, 0.2], [0.2, 1.0]]})
    shares = risk_shares({"a": 0.7, "b": 0.3}, model, 365)
    assert sum(share for _, _, share in shares) == pytest.approx(1.0)
    assert shares[0][2] == pytest.approx(risk_shares({"a": 0.7, "b": 0.3}, model, 252)[0][2])
    of_b = {name: share for name, _, share in shares}["b"]
    # w'Σw = 0.7²·1 + 0.3²·9 + 2·0.7·0.3·0.2·3 in units of 1e-4; b has its variance and one covariance
    assert of_b == pytest.approx((0.81 + 0.126) / (0.49 + 0.81 + 0.252))
