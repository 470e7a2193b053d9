"""Every symbol of the snapshot has an answer, as far as the run got."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl

from quantctl.contracts.records.candidates import PoolRow, PoolVeto, RawPool
from quantctl.contracts.records.foundation import FoundationDrop, FoundationReport
from quantctl.contracts.records.selection import (
    AuditGate,
    SelectionAudit,
    VetoRow,
    Winner,
    WinnerCore,
    Winners,
)
from quantctl.contracts.records.weights import (
    Conditioning,
    Constraints,
    Contributor,
    Inactive,
    Metadata,
    Optimization,
    PhysicalAsset,
    PhysicalPortfolio,
    PhysicalProfile,
    PhysicalTotals,
    RegimeCopy,
    Solver,
    SolverAsset,
    SolverPortfolio,
    SolverProfile,
    SolverTotals,
)
from quantctl.steps.l2_selection.explain import explain

HEAD = {"run_id": "r", "profile": "p", "as_of": "2024-12-31"}
STOPPED, WINS, VETOED, PEGGED, DROPPED, UNRANKED, LISTING, REFERENCE = (
    f"BINANCE:{name}" for name in ("STOP", "WIN", "NOISY", "PEG", "GAPS", "LATE", "WINBUSD", "BENCH")
)
WIN_LONG, WIN_SHORT = f"{WINS}_trend_LONG", f"{WINS}_trend_SHORT"


def pool_row(symbol: str, direction: str = "LONG", **changes: Any) -> PoolRow:
    plain: dict[str, Any] = {
        "atom": f"{symbol}_trend_{direction}",
        "symbol": symbol,
        "exchange": "BINANCE",
        "asset_type": "spot",
        "base_identity": symbol[8:],
        "quote": "USDT",
        "direction": direction,
        "logic": "trend",
        "adv": 1e7,
        "vol_30": 0.02,
        "adv_group": 1e7,
        "scanners": ["s"],
        "metadata": {},
        "tick_size": 0.01,
        "lot_size": 0.1,
        "price_precision": 2,
        "min_notional": 5.0,
        "metadata_provenance": "venue",
        "calendar": "24x7",
    }
    return PoolRow(**(plain | changes))


def funnel() -> pl.DataFrame:
    names = ["as_of", "scanner", "symbol", "last_rule", "code", "value", "limit"]
    rows = [
        (date(2024, 12, 31), "scan_a", STOPPED, "quote", "CURRENT_BAR_LOW", 9e5, 1e6),
        (date(2024, 12, 31), "scan_a", WINS, "limit", None, None, None),
        (date(2024, 12, 31), "scan_b", WINS, "bar", "SCAN_LIMIT", None, 100.0),
    ]
    return pl.DataFrame(rows, schema=names, orient="row")


def pool() -> RawPool:
    rows = [
        pool_row(WINS, implementation_alternatives=[LISTING]), pool_row(WINS, "SHORT"), pool_row(VETOED),
        pool_row(PEGGED, vetoes=[PoolVeto(code="PEG_LISTED", value=0.001, limit=0.01)]), pool_row(DROPPED),
        pool_row(UNRANKED),
    ]  # fmt: skip
    return RawPool(**HEAD, rows=rows)


def report() -> FoundationReport:
    return FoundationReport(
        **HEAD,
        annualisation=365,
        calendars=["24x7"],
        window={},
        floor={},
        counts={},
        notes=[],
        dropped_rows={},
        drops=[FoundationDrop(symbol=DROPPED, code="GAP_EXCESS", value=0.2, limit=0.1, roles=["pool"])],
        assets=[],
        column_roles={WINS: ["pool"], VETOED: ["pool"], UNRANKED: ["pool"], REFERENCE: ["reference"]},
    )


def winners() -> Winners:
    plain: dict[str, Any] = {
        "symbol": WINS,
        "logic": "trend",
        "cluster": "4",
        "alpha_score": 0.31,
        "rank_score": 0.31,
        "rank": 2,
        "note": "cluster_floor",
        "stage_admitted": 3,
        "adv": 1e7,
        "base_identity": "WIN",
        "exchange": "BINANCE",
        "asset_type": "spot",
    }
    return Winners(
        **HEAD,
        winners=[
            Winner(atom=WIN_LONG, direction="LONG", waived=["FRICTION"], **plain),
            Winner(atom=WIN_SHORT, direction="SHORT", waived=[], **plain),
        ],
    )


def veto(code: str, kind: str, value: float | None, limit: float | None, stage: str) -> VetoRow:
    return VetoRow.model_validate(
        {"code": code, "class": kind, "value": value, "limit": limit, "stage": stage}
    )


def audit() -> SelectionAudit:
    core = [
        WinnerCore(**{n: getattr(each, n) for n in WinnerCore.model_fields}) for each in winners().winners
    ]
    vetoes = {
        f"{VETOED}_trend_LONG": [
            veto("TOXIC_ENTROPY", "HARD", 0.9995, 0.999, "darwinian"),
            veto("FRICTION", "SOFT", -0.2, 0.0, "friction"),
        ],
        f"{PEGGED}_trend_LONG": [veto("PEG_LISTED", "HARD", 0.001, 0.01, "consolidation")],
        f"{DROPPED}_trend_LONG": [veto("GAP_EXCESS", "HARD", 0.2, 0.1, "foundation")],
        f"{UNRANKED}_trend_LONG": [veto("NOT_RECRUITED", "NONE", 41.0, None, "recruitment")],
    }
    return SelectionAudit(
        schema_version="quantctl.selection_audit/1", run_id="r", profile="p", trace_id="0" * 32,
        decision_date="2024-12-31", selection_mode="v4", spec_version="selection/1", scale="raw",
        input_hashes={}, output_hashes={}, counts={"raw": 6}, lookbacks_used=[], ridge=[], clusters={},
        relaxation_stage=3, forced=False, stages=[], active_thresholds={}, winners=core, vetoes=vetoes,
        foundation_drops=[], relabelled=[], calibration=[], warnings=[], scarcity=None,
        gate=AuditGate(status="PASS", code=None),
    )  # fmt: skip


def envelope() -> dict[str, Any]:
    return {
        **HEAD, "trace_id": "0" * 32, "annualisation": 365, "inputs": {}, "cluster_registry": {},
        "optimization": Optimization(regime=RegimeCopy(name="NORMAL", score=0.5, quadrant="EXPANSION")),
        "metadata": Metadata(code_version="0", kernel_version="0", flattened=False),
    }  # fmt: skip


def solved() -> SolverPortfolio:
    held = SolverAsset(
        Symbol=WIN_LONG,
        Weight=1.0,
        Net_Weight=1.0,
        Cluster_ID="1",
        Cluster_Weight=1.0,
        Intra_Cluster_Weight=1.0,
        Type="CORE",
    )
    profile = SolverProfile(
        status="OPTIMAL",
        reason=None,
        fallback_chain=[],
        assets=[held],
        clusters=[],
        totals=SolverTotals(gross=1.0, net=1.0, cash=0.0, n_assets=1),
        constraints=Constraints(
            cluster_cap=0.25,
            effective_cap=1.0,
            weight_cap=0.2,
            effective_weight_cap=1.0,
            cap_relaxed=True,
            beta=None,
            beta_tolerance=None,
            market_neutral=False,
            reason=None,
        ),
        conditioning=Conditioning(kappa=10, kappa_limit=5000, shrinkage=0, n_obs=300, n_columns=2),
        solver=Solver(engine="native", formulation="hrp", solver="native", status="OPTIMAL", iterations=1),
    )
    return SolverPortfolio(**envelope(), profiles={"hrp": profile})


def flattened(gate: int) -> PhysicalPortfolio:
    position = PhysicalAsset(
        Symbol=WINS,
        Weight=1.0,
        Gross_Weight=1.0,
        Net_Weight=1.0,
        Netting=0.0,
        Direction="LONG",
        Cluster_ID="1",
        Contributors=[Contributor(atom=WIN_LONG, weight=1.0, factor=1, gate=1)],
    )
    totals = PhysicalTotals(
        gross=1,
        net=1,
        abs_net=1,
        netting=0,
        cash=0,
        gated_cash=0,
        self_financing_cash=0,
        n_assets=1,
        long_gross=1,
        short_gross=0,
    )
    profile = PhysicalProfile(
        status="OPTIMAL",
        reason=None,
        fallback_chain=[],
        totals=totals,
        assets=[position] if gate else [],
        inactive=[] if gate else [Inactive(atom=WIN_LONG, weight=1.0)],
    )
    return PhysicalPortfolio(**envelope(), profiles={"hrp": profile})


def told(symbol: str, gate: int = 1, **left_out: None) -> list[dict[str, Any]]:
    atoms = pl.DataFrame({"atom": [WIN_LONG, WIN_SHORT], "symbol": [WINS, WINS]})
    sources: dict[str, Any] = {
        "candidates_funnel": funnel(), "portfolio_candidates_raw": pool(), "foundation_report": report(),
        "selection_audit": audit(), "portfolio_candidates": winners(), "atoms": atoms,
        "portfolio_optimized_v2": solved(), "portfolio_flattened": flattened(gate),
    }  # fmt: skip
    return explain(symbol, **(sources | left_out))


def facts(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["rule"], row["verdict"], row["code"], row["value"], row["limit"]) for row in rows]


def test_symbol_that_no_scanner_passed_names_the_rule_with_its_numbers() -> None:
    assert facts(told(STOPPED)) == [("scan_a", "stopped", "CURRENT_BAR_LOW", 9e5, 1e6)]


def test_winner_is_told_from_scan_to_weight() -> None:
    rows = told(WINS)
    stages = ["scan"] * 2 + ["selection.ingestion"] * 3 + ["selection.policy"] * 2
    assert [row["stage"] for row in rows] == [
        *stages,
        *["allocation.optimization"] * 2,
        "allocation.flattening",
    ]
    won = rows[5]
    assert (won["verdict"], won["rule"], won["value"]) == ("winner", "stage 3", 0.31)
    assert all(part in won["message"] for part in ("rank 2", "cluster 4", "cluster_floor", "waived FRICTION"))
    assert facts(rows)[7:] == [
        ("hrp", "weighted", None, 1.0, 1.0),
        ("hrp", "no weight", None, 0.0, 1.0),
        ("hrp", "LONG", None, 1.0, None),
    ]


def test_closed_gate_is_told_as_cash() -> None:
    assert facts(told(WINS, gate=0))[-1] == ("hrp", "cash", "CASH_FROM_GATE", 1.0, None)


def test_filter_vetoes_carry_value_and_limit() -> None:
    assert facts(told(VETOED))[-2:] == [
        ("darwinian", "vetoed", "TOXIC_ENTROPY", 0.9995, 0.999),
        ("friction", "soft veto", "FRICTION", -0.2, 0.0),
    ]


def test_veto_of_the_pool_or_the_foundation_is_told_once() -> None:
    assert facts(told(PEGGED)) == [("pool", "vetoed", "PEG_LISTED", 0.001, 0.01)]
    assert facts(told(DROPPED))[1:] == [("foundation", "dropped", "GAP_EXCESS", 0.2, 0.1)]


def test_unrecruited_candidate_is_told_with_its_rank() -> None:
    last = told(UNRANKED)[-1]
    assert (last["verdict"], last["code"], last["value"]) == ("not recruited", "NOT_RECRUITED", 41.0)
    assert "rank 41" in last["message"]


def test_reference_columns_and_other_listings_have_an_answer() -> None:
    assert facts(told(REFERENCE)) == [("foundation", "reference", None, None, None)]
    assert facts(told(LISTING)) == [("identity", "represented", "IDENTITY_DUPLICATE", None, None)]


def test_unknown_symbol_is_said_to_be_unknown() -> None:
    assert facts(told("BINANCE:NOPE")) == [("snapshot", "unknown", "SYMBOL_UNKNOWN", None, None)]


def test_run_that_did_not_get_far_is_explained_as_far_as_it_got() -> None:
    late = dict.fromkeys(("atoms", "portfolio_optimized_v2", "portfolio_flattened"))
    assert told(WINS, **late)[-1]["verdict"] == "winner"
    early = late | dict.fromkeys(("selection_audit", "portfolio_candidates", "foundation_report"))
    assert [row["verdict"] for row in told(WINS, **early)] == ["passed", "stopped", "passed", "passed"]
    nothing = early | dict.fromkeys(("candidates_funnel", "portfolio_candidates_raw"))
    assert [row["code"] for row in told(WINS, **nothing)] == ["SYMBOL_UNKNOWN"]
