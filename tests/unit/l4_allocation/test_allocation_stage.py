"""Optimisation and flattening as stages, and the gates that judge their files."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantctl.contracts.canonical import canonical
from quantctl.contracts.errors import ContractError, DataMissing
from quantctl.contracts.frames.allocation import RiskModelFrame
from quantctl.contracts.records.weights import SolverAsset, SolverPortfolio
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.stage import Loaded
from quantctl.steps.l4_allocation.flatten import AtomRow, position, totals
from quantctl.steps.l4_allocation.gates import L4Params, judge_synthetic


def codes(findings):
    return {finding.code for finding in findings}


def test_every_default_profile_ends_optimal_and_both_gates_pass(desk):
    frames = desk.market(20, 300, mixed=False)
    outcome = desk.optimised(frames)
    portfolio = outcome.outputs["portfolio_optimized_v2"]
    statuses = {name: profile.status for name, profile in portfolio.profiles.items()}
    assert statuses.pop("market") == "SKIPPED"
    assert set(statuses.values()) == {"OPTIMAL"}
    assert not desk.judged(frames, outcome).findings
    judgement = desk.judged_flat(frames, outcome)
    assert not judgement.findings and judgement.checked["rows"] > 0
    RiskModelFrame.validate(outcome.outputs["risk_model"], lazy=True)
    assert SolverPortfolio.model_validate(portfolio.model_dump(mode="json", by_alias=True)) == portfolio


def test_long_only_coins_cannot_be_market_neutral_and_say_so(desk):
    outcome = desk.optimised(desk.market(20, 300, mixed=False), risk_profiles=("hrp", "market_neutral"))
    profile = outcome.outputs["portfolio_optimized_v2"].profiles["market_neutral"]
    assert (profile.status, profile.reason) == ("FALLBACK", "INFEASIBLE_BETA")
    assert [tried.profile for tried in profile.fallback_chain] == ["market_neutral", "erc"]
    assert not profile.constraints.market_neutral and profile.constraints.beta_tolerance is None
    certificate = outcome.outputs["infeasibility"].certificates[0]
    assert certificate.verified and "beta.upper" in certificate.conflicting
    assert {"INFEASIBLE", "ALLOCATION_FALLBACK"} <= codes(outcome.findings)


def test_without_a_fallback_an_infeasible_profile_stops_the_stage_after_its_certificate(desk):
    outcome = desk.optimised(
        desk.market(20, 300, mixed=False), risk_profiles=("hrp", "market_neutral"), fallback=()
    )
    assert outcome.error.code == "INFEASIBLE_BETA" and outcome.error.exit_code == 4
    assert "infeasibility" in outcome.outputs


def test_a_mixed_sleeve_meets_the_beta_row(desk):
    frames = desk.market(24, 300, mixed=True)
    outcome = desk.optimised(frames, risk_profiles=("hrp", "market_neutral"))
    profile = outcome.outputs["portfolio_optimized_v2"].profiles["market_neutral"]
    assert profile.status == "OPTIMAL" and profile.constraints.market_neutral
    assert abs(profile.constraints.beta) <= 0.15 + 1e-6


def test_scarcity_replaces_every_profile_but_the_baselines(desk):
    outcome = desk.optimised(desk.market(7, 300, mixed=False), winners=7)
    profiles = outcome.outputs["portfolio_optimized_v2"].profiles
    replaced = {name for name, profile in profiles.items() if profile.reason == "SCARCITY"}
    assert replaced == {"hrp", "min_variance", "max_sharpe", "erc", "barbell"}
    assert len({canonical([a.model_dump() for a in profiles[name].assets if a]) for name in replaced}) == 1


def test_a_missing_benchmark_is_never_a_neutral_portfolio(desk):
    with pytest.raises(DataMissing) as caught:
        desk.optimised(
            desk.market(16, 300, mixed=True), risk_profiles=("hrp", "market_neutral"), benchmarks=()
        )
    assert caught.value.code == "BENCHMARK_MISSING" and caught.value.exit_code == 3


def test_a_constant_stream_has_no_weight(desk):
    frames = desk.market(16, 300, mixed=False)
    name = frames["atoms"]["atom"][0]
    frames["synthetic_returns"] = frames["synthetic_returns"].with_columns(pl.lit(0.0).alias(name))
    outcome = desk.optimised(frames)
    for key, profile in outcome.outputs["portfolio_optimized_v2"].profiles.items():
        if key != "benchmark":
            assert name not in {asset.Symbol for asset in profile.assets}
    assert "DEGENERATE_ATOM" in codes(outcome.findings)


def test_a_hole_in_the_streams_is_refused(desk):
    frames = desk.market(16, 300, mixed=False)
    name = frames["atoms"]["atom"][0]
    frames["synthetic_returns"] = frames["synthetic_returns"].with_columns(
        pl.when(pl.int_range(pl.len()) == 299).then(None).otherwise(pl.col(name)).alias(name)
    )
    with pytest.raises(ContractError) as caught:
        desk.optimised(frames)
    assert caught.value.code == "NONFINITE_INPUT"


def test_column_order_does_not_change_a_byte(desk):
    frames = desk.market(16, 300, mixed=False)
    shuffled = frames | {
        "synthetic_returns": frames["synthetic_returns"].select(
            "date", *reversed([c for c in frames["synthetic_returns"].columns if c != "date"])
        )
    }
    first, second = desk.optimised(frames).outputs, desk.optimised(shuffled).outputs
    for name in ("portfolio_optimized_v2", "allocation_trace"):
        assert canonical(first[name].model_dump(mode="json")) == canonical(
            second[name].model_dump(mode="json")
        )


def test_a_doctored_weight_fails_the_gate(desk):
    frames = desk.market(16, 300, mixed=False)
    outcome = desk.optimised(frames)
    body = outcome.outputs["portfolio_optimized_v2"].model_dump(mode="json", by_alias=True)
    body["profiles"]["hrp"]["assets"][0]["Weight"] += 0.01
    found = codes(desk.judged(frames, outcome, SolverPortfolio.model_validate(body)).findings)
    assert {"L4_SUM", "L4_NOT_NORMALISED"} <= found


def test_a_gate_that_cannot_read_says_so(desk):
    broken = Loaded("portfolio_optimized_v2", "data/x.json", None, problem="missing")
    judgement = judge_synthetic(
        broken, desk.loaded(pl.DataFrame()), broken, L4Params(allocation=AllocationSettings())
    )
    assert codes(judgement.findings) == {"L4_SYNTHETIC_PARSE"}


atom = st.tuples(st.integers(0, 3), st.sampled_from([1, -1]), st.integers(0, 1), st.floats(0.01, 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(atom, min_size=1, max_size=12))
def test_flattening_conserves_weight_for_any_atom_table(rows):
    total = sum(row[3] for row in rows)
    table, by_symbol, gated = {}, {}, 0.0
    for i, (symbol, factor, gate, weight) in enumerate(rows):
        share = weight / total
        table[f"a{i}"] = AtomRow(f"X:S{symbol}", factor, gate)
        asset = SolverAsset(
            Symbol=f"a{i}", Weight=share, Net_Weight=share, Cluster_ID="1", Cluster_Weight=1.0,
            Intra_Cluster_Weight=share, Type="CORE",
        )  # fmt: skip
        by_symbol.setdefault(f"X:S{symbol}", []).append(asset)
        gated += share * (1 - gate)
    positions = [position(symbol, held, table) for symbol, held in by_symbol.items()]
    sums = totals([row for row in positions if row.Weight > 0], [], 0.0)
    assert sums.gross + gated == pytest.approx(1.0, abs=1e-9)
    assert sums.abs_net + sums.netting == pytest.approx(sums.gross, abs=1e-9)
    assert abs(sums.net) <= sums.gross + 1e-12
