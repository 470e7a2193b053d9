"""What the optimisation refuses and what it says it did, each under its own code."""

from __future__ import annotations

import polars as pl
import pytest

from quantctl.contracts.errors import ConfigError, ContractError, DataMissing, DataUnhealthy
from quantctl.steps.l4_allocation.kernels import kkt, projection

ALL_BOUND = {"cluster_cap": 1.0, "weight_max": 1.0, "weight_min": 0.07}
ONE_CLUSTER = {"clusters": {"max_clusters": 1}}


def only(findings, code):
    """The one finding of that code."""
    [found] = [finding for finding in findings if finding.code == code]
    return found


def profile(outcome, name):
    return outcome.outputs["portfolio_optimized_v2"].profiles[name]


def with_streams(frames, *columns):
    return frames | {"synthetic_returns": frames["synthetic_returns"].with_columns(*columns)}


def with_rows(frames, rows):
    return frames | {"synthetic_returns": frames["synthetic_returns"].tail(rows)}


@pytest.fixture(scope="module")
def frames(desk):
    """Sixteen LONG atoms over 300 bars."""
    return desk.market(16, 300, mixed=False)


@pytest.mark.parametrize(
    ("keys", "code", "where"),
    [
        ({"weight_min": 0.01, "risk_profiles": ("erc",)}, "ERC_LOWER_BOUND", "allocation.weight_min"),
    ],
)
def test_settings_that_this_version_does_not_solve_are_refused_by_key(desk, frames, keys, code, where):
    with pytest.raises(ConfigError) as caught:
        desk.optimised(frames, **keys)
    assert (caught.value.code, caught.value.exit_code, caught.value.where) == (code, 2, where)
    assert where in caught.value.remedy


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda streams: streams.select("date"), "EMPTY_UNIVERSE"),
        (lambda streams: streams.head(19), "INSUFFICIENT_HISTORY"),
    ],
)
def test_streams_that_are_too_few_stop_the_stage(desk, frames, change, code):
    with pytest.raises(DataMissing) as caught:
        desk.optimised(frames | {"synthetic_returns": change(frames["synthetic_returns"])})
    assert (caught.value.code, caught.value.exit_code) == (code, 3)
    assert caught.value.where == "synthetic_returns"


def test_streams_without_any_variance_stop_the_stage(desk, frames):
    flat = [pl.lit(0.0).alias(name) for name in frames["atoms"]["atom"]]
    with pytest.raises(ContractError) as caught:
        desk.optimised(with_streams(frames, *flat))
    error = caught.value
    assert (error.code, error.exit_code, error.where) == ("DEGENERATE_INPUT", 3, "returns")


def test_a_benchmark_that_never_moves_has_no_beta(desk, frames):
    matrix = frames["returns_matrix"].with_columns(pl.lit(0.0).alias(desk.benchmark))
    with pytest.raises(DataUnhealthy) as caught:
        desk.optimised(frames | {"returns_matrix": matrix}, risk_profiles=("hrp", "market_neutral"))
    error = caught.value
    assert (error.code, error.exit_code) == ("BENCHMARK_DEGENERATE", 3)
    assert error.where == "allocation.beta.benchmark"


def test_with_nine_bars_of_the_benchmark_beta_is_the_factor_of_the_atom(desk):
    frames = desk.market(16, 300, mixed=True)
    outcome = desk.optimised(frames | {"returns_matrix": frames["returns_matrix"].tail(9)})
    found = only(outcome.findings, "BETA_ASSUMED")
    assert (found.level, found.details) == ("WARN", {"n_obs": 9})
    factor = dict(zip(frames["atoms"]["atom"], frames["atoms"]["factor"], strict=True))
    held = profile(outcome, "hrp")
    assert held.constraints.beta == pytest.approx(sum(factor[a.Symbol] * a.Weight for a in held.assets))
    enough = desk.optimised(frames | {"returns_matrix": frames["returns_matrix"].tail(10)})
    assert "BETA_ASSUMED" not in {finding.code for finding in enough.findings}


def test_every_profile_that_was_solved_has_its_result(desk, frames):
    outcome = desk.optimised(frames, risk_profiles=("hrp", "equal_weight", "market"))
    results = [f for f in outcome.findings if f.code == "ALLOCATION_RESULT"]
    assert [(f.level, f.details["profile"], f.details["status"]) for f in results] == [
        ("INFO", "hrp", "OPTIMAL"), ("INFO", "equal_weight", "OPTIMAL"),
    ]  # fmt: skip
    ids = {f.details["profile"]: f.details["allocation_id"] for f in results}
    assert ids.items() <= outcome.outputs["allocation_trace"].allocation_ids.items()


def test_the_market_baseline_is_left_to_the_simulator(desk, frames):
    outcome = desk.optimised(frames, risk_profiles=("hrp", "market"))
    found = only(outcome.findings, "BASELINE_EXTERNAL")
    assert (found.level, found.details) == ("INFO", {"profile": "market"})
    market = profile(outcome, "market")
    assert (market.status, market.reason) == ("SKIPPED", "BASELINE_EXTERNAL")
    assert (market.constraints.beta, market.constraints.beta_reason) == (None, "NO_WEIGHTS")


def test_a_window_shorter_than_the_train_window_says_so(desk, frames):
    outcome = desk.optimised(with_rows(frames, 120), risk_profiles=("hrp",))
    found = only(outcome.findings, "ALLOCATION_WINDOW_SHORT")
    assert found.level == "WARN" and found.details["rows"] == 120 < found.details["wanted"]


def test_two_streams_that_are_one_are_named_and_the_correlation_is_conditioned(desk, frames):
    first, second = sorted(frames["atoms"]["atom"])[:2]
    doubled = with_streams(frames, (2 * pl.col(first)).alias(second))
    outcome = desk.optimised(doubled, risk_profiles=("hrp",), covariance={"method": "sample"})
    found = only(outcome.findings, "DUPLICATE_STREAM")
    assert (found.level, found.details) == ("WARN", {"n": 1, "first": [f"{first} = {second}"]})
    extreme = only(outcome.findings, "CONDITIONING_EXTREME")
    assert extreme.level == "WARN" and extreme.details["kappa_before"] > 1e8
    assert extreme.details["kappa_after"] == profile(outcome, "hrp").conditioning.kappa < 5000


def test_caps_that_force_every_cluster_are_named_and_the_tree_is_projected_on_them(desk, frames):
    outcome = desk.optimised(frames, risk_profiles=("hrp",), clusters={"max_clusters": 4})
    forced = only(outcome.findings, "CAP_DEGENERATE")
    assert (forced.level, forced.details) == ("WARN", {"n_clusters": 4, "effective": 0.25})
    projected = only(outcome.findings, "HRP_PROJECTED")
    assert (projected.level, projected.details["profile"]) == ("WARN", "hrp")
    assert 0.0 < projected.details["l1"] <= 2.0
    assert [c.Gross_Weight for c in profile(outcome, "hrp").clusters] == pytest.approx([0.25] * 4)


@pytest.mark.parametrize(
    ("keys", "code", "rows"),
    [
        (ALL_BOUND, "INFEASIBLE_BOUNDS", "weight_min"),
        ({"weight_min": 0.06, "clusters": {"max_clusters": 3}}, "INFEASIBLE_CAPS", "cluster_cap"),
    ],
)
@pytest.mark.parametrize("name", ["hrp", "min_variance"])
def test_bounds_that_leave_no_portfolio_stop_the_stage_with_a_certificate(
    desk, frames, keys, code, rows, name
):
    outcome = desk.optimised(frames, risk_profiles=(name,), fallback=(), **keys)
    assert (outcome.error.code, outcome.error.exit_code) == (code, 4)
    assert outcome.error.details == {"profile": name, "status": "INFEASIBLE"}
    [certificate] = outcome.outputs["infeasibility"].certificates
    assert certificate.verified and any(row.startswith(rows) for row in certificate.conflicting)
    assert only(outcome.findings, "INFEASIBLE").details == {"profile": name, "code": code}
    held = profile(outcome, name)
    assert (held.status, held.reason, held.assets) == ("INFEASIBLE", code, [])
    assert (held.constraints.beta, held.constraints.beta_reason) == (None, "NO_WEIGHTS")


def test_one_cluster_is_no_barbell(desk, frames):
    outcome = desk.optimised(frames, risk_profiles=("barbell",), fallback=(), **ONE_CLUSTER)
    found = only(outcome.findings, "BARBELL_DEGENERATE")
    assert (found.level, found.details) == ("WARN", {"profile": "barbell"})
    held = profile(outcome, "barbell")
    assert (held.status, held.reason) == ("FALLBACK", "BARBELL_DEGENERATE")
    assert [tried.profile for tried in held.fallback_chain] == ["barbell", "hrp"]


def test_one_cluster_that_hrp_cannot_fill_either_stops_the_stage(desk, frames):
    outcome = desk.optimised(frames, risk_profiles=("barbell",), fallback=(), **ONE_CLUSTER, **ALL_BOUND)
    assert (outcome.error.code, outcome.error.exit_code) == ("BARBELL_DEGENERATE", 4)
    assert outcome.error.details == {"profile": "barbell", "status": "DEGENERATE_INPUT"}


def test_ninety_nine_bars_do_not_measure_antifragility(desk, frames):
    outcome = desk.optimised(with_rows(frames, 99), risk_profiles=("barbell",), fallback=())
    assert (outcome.error.code, outcome.error.exit_code) == ("ANTIFRAGILITY_INSUFFICIENT", 4)
    assert outcome.error.details == {"profile": "barbell", "status": "INSUFFICIENT_HISTORY"}
    replaced = profile(desk.optimised(with_rows(frames, 99), risk_profiles=("barbell",)), "barbell")
    assert (replaced.status, replaced.reason) == ("FALLBACK", "ANTIFRAGILITY_INSUFFICIENT")
    assert profile(desk.optimised(with_rows(frames, 100)), "barbell").status == "OPTIMAL"


def test_a_result_of_reduced_accuracy_is_accepted_aloud_or_not_at_all(desk, frames, monkeypatch):
    """Where no solve meets the first accuracy class, the second one decides."""
    tight, loose = kkt.CLASSES
    monkeypatch.setattr(kkt, "CLASSES", ((tight[0], 0.0, 0.0, 0.0), loose))
    outcome = desk.optimised(frames, risk_profiles=("min_variance",))
    found = only(outcome.findings, "OPTIMAL_REDUCED_ACCURACY")
    assert (found.level, found.details) == ("WARN", {"profile": "min_variance"})
    held = profile(outcome, "min_variance")
    assert (held.status, held.solver.status) == ("OPTIMAL", "OPTIMAL_REDUCED_ACCURACY")
    strict = desk.optimised(frames, risk_profiles=("min_variance",), accept_reduced=False, fallback=())
    assert (strict.error.code, strict.error.exit_code) == ("SOLVER_FAILED", 4)
    assert strict.error.details["profile"] == "min_variance"


def test_a_projection_that_does_not_converge_falls_back_or_stops_as_declared(desk, frames, monkeypatch):
    monkeypatch.setattr(projection, "_solve", lambda weights, problem: ("MaxIterations", None))
    keys = {"risk_profiles": ("hrp",), "clusters": {"max_clusters": 4}}
    replaced = profile(desk.optimised(frames, **keys), "hrp")
    assert (replaced.status, replaced.reason) == ("FALLBACK", "PROJECTION_FAILED")
    stopped = desk.optimised(frames, fallback=(), **keys).error
    assert (stopped.code, stopped.exit_code) == ("PROJECTION_FAILED", 4)
    assert stopped.details == {"profile": "hrp", "status": "SOLVER_FAILED"}
