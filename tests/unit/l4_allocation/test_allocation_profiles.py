"""Every risk profile, both structures, declared cash and previous weights, as the stage solves them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import yaml
from pydantic import ValidationError

from quantctl.contracts.errors import ConfigError, ContractError
from quantctl.contracts.records.weights import SolverPortfolio
from quantctl.contracts.settings.allocation import BETA_REFUSED, RISK_PROFILES, AllocationSettings
from quantctl.steps.l4_allocation import allocation, profiles
from quantctl.steps.l4_allocation.kernels.problem import Attempt, Result
from quantctl.steps.l4_allocation.ladder import solve
from quantctl.steps.l4_allocation.profiles import problem_of, split_budgets, target_of

PAGE = Path(__file__).parents[3] / "docs" / "allocation.md"
BUDGETS = {str(i): 1.0 + i for i in range(1, 26)}
ALL = {"risk_profiles": RISK_PROFILES, "budgets": BUDGETS}
OPTIONAL = ("min_variance", "max_sharpe", "mean_variance", "max_diversification", "min_cvar")


def only(outcome, code):
    [found] = [finding for finding in outcome.findings if finding.code == code]
    return found


def codes(outcome):
    return {finding.code for finding in outcome.findings}


def portfolio(outcome):
    return outcome.outputs["portfolio_optimized_v2"]


def weights(outcome, name):
    return {asset.Symbol: asset.Weight for asset in portfolio(outcome).profiles[name].assets}


def distance(one, other):
    """Largest difference of two portfolios."""
    return max(abs(one.get(name, 0.0) - other.get(name, 0.0)) for name in {"", *one, *other})


def judgements(desk, frames, outcome, **keys):
    found = [
        *desk.judged(frames, outcome, **keys).findings,
        *desk.judged_flat(frames, outcome, **keys).findings,
    ]
    return [finding for finding in found if finding.level == "ERROR"]


@pytest.fixture(scope="module")
def long(desk):
    """Twenty LONG atoms over 300 bars."""
    return desk.market(20, 300, mixed=False)


@pytest.fixture(scope="module")
def mixed(desk):
    """Twenty-four atoms, every second one SHORT, over 300 bars."""
    return desk.market(24, 300, mixed=True)


@pytest.fixture
def window(monkeypatch):
    """The setting and the results of the next `optimised`."""
    kept = SimpleNamespace(setting=None, solved=[])
    real = allocation.run_profile

    def run_profile(profile, setting, *, scarce=False):
        kept.setting = setting
        kept.solved.append(real(profile, setting, scarce=scarce))
        return kept.solved[-1]

    monkeypatch.setattr(allocation, "run_profile", run_profile)
    return kept


@pytest.mark.parametrize("structure", ["flat", "two_layer"])
@pytest.mark.parametrize("cash", ["none", "allowed"])
def test_all_profiles_pass_both_gates_and_both_engines_give_the_same_weights(desk, mixed, structure, cash):
    keys = ALL | {"structure": structure, "cash": cash}
    native, cvxpy = (desk.optimised(mixed, engine=engine, **keys) for engine in ("native", "cvxpy"))
    for engine, outcome in (("native", native), ("cvxpy", cvxpy)):
        assert judgements(desk, mixed, outcome, **keys) == []
        assert {p.solver.engine for p in portfolio(outcome).profiles.values()} == {engine}
        assert outcome.outputs["allocation_trace"].engine == engine
    for name in RISK_PROFILES:
        assert distance(weights(native, name), weights(cvxpy, name)) <= 1e-6, name
    assert portfolio(native).profiles["max_sharpe"].solver.solver == "fast"
    assert portfolio(cvxpy).profiles["max_sharpe"].solver.solver == "clarabel"


def test_every_profile_of_the_file_names_its_formulation(desk, long):
    found = portfolio(desk.optimised(long, **ALL)).profiles
    assert {name: p.solver.formulation for name, p in found.items() if name in (*OPTIONAL, "herc")} == {
        "min_variance": "min_variance", "max_sharpe": "max_sharpe", "mean_variance": "mean_variance",
        "max_diversification": "max_diversification", "min_cvar": "min_cvar",
        "herc": "hierarchical_equal_risk",
    }  # fmt: skip


def test_the_page_lists_every_profile_and_its_example_is_valid():
    page = PAGE.read_text()
    table = page[page.index("| profile |") : page.index("A beta row is asked for")]
    assert {name for name in RISK_PROFILES if f"`{name}`" not in table} == set()
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.S)
    settings = AllocationSettings.model_validate(yaml.safe_load(example)["allocation"])
    assert "herc" in settings.risk_profiles and settings.beta.apply_to == ("max_sharpe",)


def test_erc_and_risk_parity_are_one_profile(desk, long):
    outcome = desk.optimised(long, risk_profiles=("erc", "risk_parity"))
    assert weights(outcome, "erc") == weights(outcome, "risk_parity")


def test_a_risk_averse_investor_holds_less_variance(desk, long, window):
    variance = []
    for aversion in (1.0, 50.0):
        desk.optimised(long, risk_profiles=("mean_variance",), risk_aversion=aversion)
        held = window.solved[-1].result.weights
        variance.append(float(held @ window.setting.base.cov @ held))
    assert variance[1] < variance[0]


def test_the_reference_engine_is_refused_only_where_it_is_not_installed(desk, long, monkeypatch):
    monkeypatch.setattr(profiles, "find_spec", lambda name: None)
    assert desk.optimised(long, risk_profiles=("min_variance",)).error is None
    with pytest.raises(ConfigError) as caught:
        desk.optimised(long, risk_profiles=("min_variance",), engine="cvxpy")
    error = caught.value
    assert (error.code, error.exit_code, error.where) == ("ENGINE_UNAVAILABLE", 2, "allocation.engine")
    assert "native" in error.remedy


def test_a_result_beyond_the_fast_kernel_is_on_record(desk, long, monkeypatch):
    late = Result(np.full(20, 0.05), "OPTIMAL", attempts=(Attempt("fast", "x"), Attempt("ipm", "OPTIMAL")))
    monkeypatch.setattr("quantctl.steps.l4_allocation.solving.min_variance", lambda problem, engine: late)
    assert only(desk.optimised(long, risk_profiles=("min_variance",)), "SOLVER_RUNG").details == {
        "profile": "min_variance", "rung": "ipm",
    }  # fmt: skip
    assert "SOLVER_RUNG" not in codes(desk.optimised(long, risk_profiles=("min_variance",), engine="cvxpy"))
    assert "SOLVER_RUNG" not in codes(desk.optimised(long, risk_profiles=("max_sharpe",)))


# adaptive


@pytest.mark.parametrize(
    ("quadrant", "bars", "target"),
    [
        ("EXPANSION", 30, "max_sharpe"), ("NORMAL", 252, "max_sharpe"), ("STAGNATION", 30, "min_variance"),
        ("INFLATIONARY_TREND", 252, "barbell"), ("CRISIS", 252, "hrp"), ("CRISIS", 29, "erc"),
        ("BOREDOM", 252, "erc"),
    ],
)  # fmt: skip
def test_adaptive_is_the_profile_of_the_quadrant(quadrant, bars, target):
    assert target_of("adaptive", AllocationSettings(), quadrant, bars) == target


def test_adaptive_has_the_weights_and_the_record_of_its_target(desk, long):
    outcome = desk.optimised(long, risk_profiles=("adaptive", "max_sharpe"))
    assert weights(outcome, "adaptive") == weights(outcome, "max_sharpe")
    held = portfolio(outcome).profiles["adaptive"]
    assert (held.status, held.reason, held.solver.formulation) == ("OPTIMAL", None, "max_sharpe")
    assert [(t.profile, t.outcome) for t in held.fallback_chain] == [
        ("adaptive", "TARGET"), ("max_sharpe", "OPTIMAL"),
    ]  # fmt: skip
    assert outcome.outputs["allocation_trace"].profiles["adaptive"].target == "max_sharpe"
    assert only(outcome, "ADAPTIVE_TARGET").details == {
        "profile": "adaptive", "target": "max_sharpe", "quadrant": "NORMAL", "rows": 252,
    }  # fmt: skip


def test_adaptive_on_twenty_nine_bars_is_its_fallback(desk, long):
    short = long | {"synthetic_returns": long["synthetic_returns"].tail(29)}
    outcome = desk.optimised(short, risk_profiles=("adaptive", "erc"))
    assert weights(outcome, "adaptive") == weights(outcome, "erc")
    assert only(outcome, "ADAPTIVE_TARGET").details["target"] == "erc"


def test_adaptive_has_the_beta_row_of_its_target(desk, mixed):
    beta = {"apply_to": ("max_sharpe",)}
    outcome = desk.optimised(mixed, risk_profiles=("adaptive",), beta=beta)
    rows = portfolio(outcome).profiles["adaptive"].constraints
    assert rows.market_neutral and abs(rows.beta) <= 0.15 + 1e-6
    with pytest.raises(ValidationError, match="beta row of its target"):
        AllocationSettings(beta={"apply_to": ("adaptive",)})


def test_a_target_that_fails_is_followed_by_the_declared_chain(desk, long):
    losing = long | {
        "synthetic_returns": long["synthetic_returns"].with_columns(pl.exclude("date") * 0.01 - 0.05)
    }
    held = portfolio(desk.optimised(losing, risk_profiles=("adaptive",))).profiles["adaptive"]
    assert (held.status, held.reason) == ("FALLBACK", "NON_POSITIVE_EXCESS")
    assert [tried.profile for tried in held.fallback_chain] == ["adaptive", "max_sharpe", "erc"]


# min_cvar


def test_a_thin_tail_is_a_warning_and_not_a_failure(desk, long):
    outcome = desk.optimised(
        long | {"synthetic_returns": long["synthetic_returns"].tail(90)}, risk_profiles=("min_cvar",)
    )
    found = only(outcome, "CVAR_TAIL_THIN")
    assert (found.level, found.details) == ("WARN", {"profile": "min_cvar"})
    assert portfolio(outcome).profiles["min_cvar"].status == "OPTIMAL"
    assert "CVAR_TAIL_THIN" not in codes(desk.optimised(long, risk_profiles=("min_cvar",)))


def test_the_expected_shortfall_of_the_window_is_the_smallest_of_all_profiles(desk, long, window):
    keys = {"l2_by_quadrant": dict.fromkeys(AllocationSettings().l2_by_quadrant, 0.0)}
    desk.optimised(long, risk_profiles=("min_cvar", "min_variance", "max_sharpe", "erc"), **keys)

    def shortfall(one):
        losses = np.sort(-window.setting.returns @ one.result.weights)[::-1]
        tail = 0.05 * len(losses)
        whole = int(tail)
        return (losses[:whole].sum() + (tail - whole) * losses[whole]) / tail

    best, *others = map(shortfall, window.solved)
    assert best <= min(others) + 1e-9


# two layers


def test_two_layers_are_clusters_times_inverse_variances(desk, long, window):
    desk.optimised(long, risk_profiles=("min_variance",), structure="two_layer")
    held, setting = window.solved[-1].result, window.setting
    variance = np.diag(setting.base.cov)
    for key, total in held.notes["cluster_weights"].items():
        inside = np.array([label == key for label in setting.labels])
        inverse = 1.0 / variance[inside]
        assert held.weights[inside] == pytest.approx(total * inverse / inverse.sum(), abs=1e-12)
    assert held.notes["structure"] == "two_layer"


def test_the_stream_of_a_cluster_is_the_weighted_sum_of_its_members_rows(desk, long, window):
    desk.optimised(long, risk_profiles=("min_variance",), structure="two_layer")
    layers, setting = window.setting.layers, window.setting
    assert layers.setting.returns == pytest.approx(setting.returns @ layers.intra.T)
    assert layers.intra.sum(axis=1) == pytest.approx(np.ones(len(layers.intra)))
    assert layers.setting.beta == pytest.approx(layers.intra @ setting.beta)


def test_the_file_of_two_layers_has_the_condition_number_of_the_clusters(desk, long):
    outcome = desk.optimised(long, risk_profiles=("min_variance", "equal_weight"), structure="two_layer")
    held = portfolio(outcome).profiles
    clusters = len(outcome.outputs["portfolio_clusters"].clusters)
    assert held["min_variance"].conditioning.n_columns == clusters
    assert held["equal_weight"].conditioning.n_columns == 20


def test_a_product_above_the_cap_of_an_atom_is_infeasible_by_its_own_name(desk, long):
    """Of two like streams the calm one takes nearly all of their cluster, whatever its own cap."""
    first, second = sorted(long["atoms"]["atom"])[:2]
    calm = like(long, first, 0.2, second)
    keys = {"risk_profiles": ("min_variance",), "structure": "two_layer", "weight_max": 0.15}
    outcome = desk.optimised(calm, fallback=(), **keys)
    assert (outcome.error.code, outcome.error.exit_code) == ("TWO_LAYER_BOUNDS", 4)
    held = portfolio(outcome).profiles["min_variance"]
    assert (held.status, held.reason, held.assets) == ("INFEASIBLE", "TWO_LAYER_BOUNDS", [])
    violated = only(outcome, "TWO_LAYER_BOUNDS").details["violated"]
    assert f"weight_max[{second}]" in violated
    flat = desk.optimised(calm, **keys | {"structure": "flat"})
    assert portfolio(flat).profiles["min_variance"].status == "OPTIMAL"


def test_the_product_of_two_layers_meets_the_beta_row(desk, mixed):
    keys = {"risk_profiles": ("market_neutral",), "structure": "two_layer", "fallback": ()}
    held = portfolio(desk.optimised(mixed, **keys)).profiles["market_neutral"]
    assert held.status == "OPTIMAL" and abs(held.constraints.beta) <= 0.15 + 1e-6


def test_every_atom_of_an_aggressor_cluster_is_an_aggressor_in_two_layers(desk, long):
    outcome = desk.optimised(long, risk_profiles=("barbell",), structure="two_layer")
    held = portfolio(outcome).profiles["barbell"]
    for cluster in held.clusters:
        kinds = {asset.Type for asset in held.assets if asset.Cluster_ID == cluster.Cluster_ID}
        assert len(kinds) == 1
    assert {asset.Type for asset in held.assets} == {"CORE", "AGGRESSOR"}


# cash


def test_declared_cash_scales_the_portfolio_that_knows_no_beta_row(desk, mixed):
    """w = t·d with t = τ/|β'd|: for a ratio the largest admissible share of the best portfolio."""
    beta = {"apply_to": ("max_sharpe",)}
    keys = {"risk_profiles": ("max_sharpe",), "beta": beta}
    bare = weights(desk.optimised(mixed, risk_profiles=("max_sharpe",)), "max_sharpe")
    outcome = desk.optimised(mixed, cash="allowed", **keys)
    held = portfolio(outcome).profiles["max_sharpe"]
    exposure = held.totals.gross
    assert 0.2 < exposure < 1.0 and held.totals.cash == pytest.approx(1.0 - exposure, abs=1e-12)
    assert weights(outcome, "max_sharpe") == pytest.approx({k: exposure * w for k, w in bare.items()})
    assert abs(held.constraints.beta) == pytest.approx(0.15)
    assert held.constraints.market_neutral
    assert judgements(desk, mixed, outcome, cash="allowed", **keys) == []
    flat = desk.flattened(mixed, outcome).profiles["max_sharpe"].totals
    assert flat.cash == held.totals.cash
    assert flat.gross + flat.gated_cash + flat.cash == pytest.approx(1.0, abs=1e-9)
    assert outcome.outputs["allocation_trace"].profiles["max_sharpe"].notes["exposure"] == pytest.approx(
        exposure
    )


def test_without_a_beta_row_declared_cash_is_none(desk, long):
    keys = {"risk_profiles": ("hrp", "max_sharpe", "equal_weight")}
    free, declared = desk.optimised(long, **keys), desk.optimised(long, cash="allowed", **keys)
    assert portfolio(free).profiles == portfolio(declared).profiles


def test_too_little_exposure_is_infeasible_and_says_how_little(desk, long):
    keys = {"risk_profiles": ("market_neutral",), "cash": "allowed", "cash_min_exposure": 0.5}
    outcome = desk.optimised(long, fallback=(), **keys)
    assert (outcome.error.code, outcome.error.exit_code) == ("EXPOSURE_BELOW_MIN", 4)
    found = only(outcome, "EXPOSURE_BELOW_MIN")
    assert found.details["exposure"] == pytest.approx(0.15 / found.details["invested_beta"])
    assert found.details["exposure"] < 0.5
    held = portfolio(outcome).profiles["market_neutral"]
    assert (held.status, held.assets, held.totals.cash) == ("INFEASIBLE", [], 0.0)
    replaced = portfolio(desk.optimised(long, **keys)).profiles["market_neutral"]
    assert (replaced.status, replaced.reason) == ("FALLBACK", "EXPOSURE_BELOW_MIN")
    assert not replaced.constraints.market_neutral and replaced.totals.cash == 0.0


def doctored(outcome, name, **changes):
    body = portfolio(outcome).model_dump(mode="json", by_alias=True)
    for path, value in changes.items():
        place, key = path.split("__")
        body["profiles"][name][place][key] = value
    return SolverPortfolio.model_validate(body)


def test_cash_that_nothing_declares_fails_the_gate(desk, mixed):
    keys = {"risk_profiles": ("max_sharpe",), "beta": {"apply_to": ("max_sharpe",)}}
    outcome = desk.optimised(mixed, cash="allowed", **keys)
    assert {f.code for f in desk.judged(mixed, outcome, **keys).findings} == {"L4_CASH"}
    strict = keys | {"cash": "allowed", "cash_min_exposure": 0.9}
    assert {f.code for f in desk.judged(mixed, outcome, **strict).findings} == {"L4_CASH"}


@pytest.mark.parametrize(
    "lie",
    [
        {"constraints__market_neutral": False, "constraints__beta_tolerance": None},
        {"constraints__beta_tolerance": 0.9},
    ],
)
def test_a_profile_with_a_beta_row_cannot_lose_it_in_the_file(desk, mixed, lie):
    keys = {"risk_profiles": ("max_sharpe",), "beta": {"apply_to": ("max_sharpe",)}}
    outcome = desk.optimised(mixed, **keys)
    assert desk.judged(mixed, outcome, **keys).findings == []
    found = desk.judged(mixed, outcome, doctored(outcome, "max_sharpe", **lie), **keys).findings
    assert {finding.code for finding in found} == {"L4_BETA"}


# beta rows


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_profile_takes_a_beta_row_where_it_is_asked_to(desk, mixed, name):
    keys = {"risk_profiles": (name,), "beta": {"apply_to": (name,), "tolerance": 0.02}}
    outcome = desk.optimised(mixed, **keys)
    held = portfolio(outcome).profiles[name]
    assert (held.status, held.constraints.market_neutral) == ("OPTIMAL", True)
    assert abs(held.constraints.beta) <= 0.02 + 1e-6
    assert judgements(desk, mixed, outcome, **keys) == []


@pytest.mark.parametrize("name", [*BETA_REFUSED, "equal_weight", "market", "benchmark", "adaptive"])
def test_a_profile_that_cannot_keep_a_beta_row_refuses_it(name):
    with pytest.raises(ValidationError) as caught:
        AllocationSettings(beta={"apply_to": (name,)})
    assert caught.value.errors()[0]["type"] == "BETA_UNSUPPORTED_FOR_PROFILE"


def test_a_fallback_that_cannot_keep_a_beta_row_is_not_asked_to():
    with pytest.raises(ValidationError) as caught:
        AllocationSettings(fallback=({"profile": "erc", "keep": ("caps", "beta")},))
    assert caught.value.errors()[0]["type"] == "BETA_UNSUPPORTED_FOR_PROFILE"


def test_a_neutral_fallback_keeps_its_row_whatever_it_was_told_to_keep(desk, mixed, window):
    desk.optimised(mixed, risk_profiles=("hrp",))
    assert problem_of("market_neutral", window.setting, ("caps",)).beta is not None
    assert problem_of("max_sharpe", window.setting).beta is None


@pytest.mark.parametrize("name", ["adaptive", "market"])
@pytest.mark.parametrize("key", ["scarcity_fallback", "fallback", "adaptive"])
def test_what_holds_no_weights_of_its_own_replaces_nothing(key, name):
    value = {"fallback": ({"profile": name},), "adaptive": {"fallback": name}}.get(key, name)
    with pytest.raises(ValidationError) as caught:
        AllocationSettings(**{key: value})
    assert caught.value.errors()[0]["type"] == "CONFIG_RANGE"


def test_a_fallback_that_the_bounds_forbid_is_tried_and_named(desk, long):
    keys = {"risk_profiles": ("min_variance",), "cluster_cap": 1.0, "weight_max": 1.0, "weight_min": 0.06}
    held = portfolio(desk.optimised(long, **keys)).profiles["min_variance"]
    assert (held.status, held.reason, held.assets) == ("INFEASIBLE", "INFEASIBLE_BOUNDS", [])
    assert [(t.profile, t.outcome, t.code) for t in held.fallback_chain] == [
        ("min_variance", "INFEASIBLE", "INFEASIBLE_BOUNDS"), ("erc", "SOLVER_FAILED", "ERC_LOWER_BOUND"),
    ]  # fmt: skip


# previous weights


def previous(frames, *weights):
    return dict(zip(sorted(frames["atoms"]["atom"]), weights, strict=False))


def test_previous_weights_have_no_price_until_the_feature_is_on(desk, long):
    held = {"previous_weights": previous(long, 0.5, 0.5)}
    keys = {"risk_profiles": ("min_variance",)}
    bare, told = desk.optimised(long, **keys), desk.optimised(long, **keys, **held)
    assert weights(bare, "min_variance") == weights(told, "min_variance")
    priced = desk.optimised(long, features={"feat_turnover_penalty": True}, turnover=0.5, **keys, **held)
    first, second = sorted(long["atoms"]["atom"])[:2]
    before, after = weights(bare, "min_variance"), weights(priced, "min_variance")
    assert after[first] + after[second] > before.get(first, 0.0) + before.get(second, 0.0)


@pytest.mark.parametrize("name", ["min_variance", "max_sharpe", "mean_variance", "min_cvar"])
@pytest.mark.parametrize("structure", ["flat", "two_layer"])
def test_both_engines_agree_on_the_price_of_trading(desk, long, name, structure):
    keys = {
        "risk_profiles": (name,), "features": {"feat_turnover_penalty": True}, "structure": structure,
        "turnover": 0.05, "previous_weights": previous(long, *[0.05] * 18) | {"gone": 0.1},
    }  # fmt: skip
    native, cvxpy = (desk.optimised(long, engine=engine, **keys) for engine in ("native", "cvxpy"))
    assert distance(weights(native, name), weights(cvxpy, name)) <= 1e-6


def test_new_atoms_start_at_nothing_and_vanished_ones_are_counted(desk, long, window):
    first, second = sorted(long["atoms"]["atom"])[:2]
    still = long | {"synthetic_returns": long["synthetic_returns"].with_columns(pl.lit(0.0).alias(second))}
    outcome = desk.optimised(
        still, risk_profiles=("min_variance", "hrp"), features={"feat_turnover_penalty": True},
        previous_weights={first: 0.25, second: 0.125, "gone": 0.5},
    )  # fmt: skip
    problem = window.solved[0].problem
    assert problem.exit_turnover == 0.625
    assert dict(zip(problem.names, problem.w_prev, strict=True)) == dict.fromkeys(problem.names, 0.0) | {
        first: 0.25
    }
    notes = outcome.outputs["allocation_trace"].profiles["min_variance"].notes
    assert notes["exit_turnover"] == 0.625
    assert notes["traded"] == pytest.approx(np.abs(window.solved[0].result.weights - problem.w_prev).sum())
    assert window.solved[1].problem.w_prev is None


def test_what_is_traded_is_counted_on_the_published_weights_beside_declared_cash(desk, long):
    held = previous(long, 0.1, 0.2)
    outcome = desk.optimised(
        long, risk_profiles=("market_neutral",), cash="allowed", cash_min_exposure=0.05,
        features={"feat_turnover_penalty": True}, previous_weights=held,
    )  # fmt: skip
    found = weights(outcome, "market_neutral")
    assert portfolio(outcome).profiles["market_neutral"].totals.cash > 0.1
    traded = sum(abs(found.get(name, 0.0) - held.get(name, 0.0)) for name in {*found, *held})
    notes = outcome.outputs["allocation_trace"].profiles["market_neutral"].notes
    assert notes["traded"] == pytest.approx(traded, abs=1e-7)


def test_an_allocation_id_knows_whether_trading_has_a_price(desk, long):
    keys = {"risk_profiles": ("min_variance",), "previous_weights": previous(long, 1.0)}
    ids = {
        desk.optimised(long, features={"feat_turnover_penalty": on}, **keys)
        .outputs["allocation_trace"].allocation_ids["min_variance"]
        for on in (False, True)
    }  # fmt: skip
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("held", "kind"),
    [
        ({"a": 0.6, "b": 0.5}, "CONFIG_RANGE"),
        ({"a": -0.1}, "greater_than_equal"),
        ({"a": float("nan")}, "finite_number"),
    ],
)
def test_previous_weights_are_a_portfolio(held, kind):
    with pytest.raises(ValidationError) as caught:
        AllocationSettings(previous_weights=held)
    assert caught.value.errors()[0]["type"] == kind


# budgets


def test_the_budget_of_a_cluster_is_shared_by_its_members():
    assert split_budgets({"1": 2.0, "b": 3.0}, ("a", "b", "c"), ("1", "1", "1")) == pytest.approx(
        [2 / 3, 3, 2 / 3]
    )


def test_an_atom_without_a_budget_is_named(desk, long):
    with pytest.raises(ConfigError) as caught:
        desk.optimised(long, risk_profiles=("risk_budget",), budgets={"1": 1.0})
    assert (caught.value.code, caught.value.exit_code) == ("BUDGET_MISSING", 2)


@pytest.mark.parametrize(
    "keys",
    [
        {"risk_profiles": ("risk_budget",)},
        {"fallback": ({"profile": "risk_budget"},)},
        {"scarcity_fallback": "risk_budget"},
        {"risk_profiles": ("adaptive",), "adaptive": {"fallback": "risk_budget"}},
    ],
)
def test_no_way_to_a_risk_budget_without_budgets(keys):
    with pytest.raises(ValidationError) as caught:
        AllocationSettings(**keys)
    assert caught.value.errors()[0]["type"] == "BUDGET_MISSING"


def test_budgets_of_two_layers_are_those_of_the_clusters(desk, long, window):
    desk.optimised(long, risk_profiles=("risk_budget",), budgets=BUDGETS, structure="two_layer")
    layers, held = window.setting.layers, window.solved[-1].result
    across = np.array([held.notes["cluster_weights"][key] for key in layers.setting.labels])
    if across.max() < 0.25 - 1e-9:
        shares = across * (layers.setting.base.cov @ across)
        wanted = np.array([BUDGETS[key] for key in layers.setting.labels])
        assert shares / shares.sum() == pytest.approx(wanted / wanted.sum(), rel=1e-6)


# small and awkward universes


@pytest.mark.parametrize("structure", ["flat", "two_layer"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_one_two_or_three_atoms_are_enough_for_every_profile(desk, size, structure):
    frames = desk.market(size, 300, mixed=False)
    outcome = desk.optimised(frames, **ALL, structure=structure)
    assert judgements(desk, frames, outcome, **ALL) == []
    for name, held in portfolio(outcome).profiles.items():
        if name == "market":
            continue
        assert held.status in ("OPTIMAL", "FALLBACK", "INFEASIBLE"), name
        assert held.status == "OPTIMAL" or held.reason, name
        if held.status != "INFEASIBLE":
            assert sum(a.Weight for a in held.assets) == pytest.approx(1.0, abs=1e-9)
    alone = {held.assets[0].Weight for held in portfolio(outcome).profiles.values() if held.assets}
    assert size > 1 or alone == {1.0}


@pytest.mark.parametrize("clusters", [1, 2, 3])
@pytest.mark.parametrize("structure", ["flat", "two_layer"])
def test_few_clusters_relax_their_caps_and_say_so(desk, long, clusters, structure):
    outcome = desk.optimised(long, **ALL, structure=structure, clusters={"max_clusters": clusters})
    assert judgements(desk, long, outcome, **ALL) == []
    assert {"CAP_RELAXED", "CAP_DEGENERATE"} <= codes(outcome)
    for name, held in portfolio(outcome).profiles.items():
        if held.clusters:
            assert held.constraints.effective_cap >= 1 / clusters - 1e-12, name


def like(frames, source, factor, twin):
    columns = frames["synthetic_returns"].with_columns((factor * pl.col(source)).alias(twin))
    return frames | {"synthetic_returns": columns}


@pytest.mark.parametrize("factor", [1.0, -1.0])
@pytest.mark.parametrize("structure", ["flat", "two_layer"])
def test_duplicate_and_opposite_streams_are_solved_and_named(desk, long, factor, structure):
    first, second = sorted(long["atoms"]["atom"])[:2]
    frames = like(long, first, factor, second)
    outcome = desk.optimised(frames, **ALL, structure=structure)
    assert only(outcome, "DUPLICATE_STREAM").details["n"] == 1
    assert judgements(desk, frames, outcome, **ALL) == []
    if factor > 0.0:
        for name in ("min_variance", "erc", "max_diversification", "mean_variance"):
            held = weights(outcome, name)
            assert held.get(first, 0.0) == pytest.approx(held.get(second, 0.0), abs=1e-8), name


def test_a_cluster_of_opposites_has_no_stream_and_no_weight(desk):
    """In one cluster the two cancel: nothing is left whose variance could be measured."""
    frames = desk.market(2, 300, mixed=False)
    first, second = sorted(frames["atoms"]["atom"])
    keys = {"risk_profiles": ("min_variance",), "clusters": {"max_clusters": 1}}
    with pytest.raises(ContractError) as caught:
        desk.optimised(like(frames, first, -1.0, second), structure="two_layer", **keys)
    assert (caught.value.code, caught.value.exit_code) == ("DEGENERATE_INPUT", 3)


def test_atoms_of_a_cluster_without_variance_are_named(desk, long, monkeypatch):
    """Opposites are put in one cluster by hand: their distance keeps them apart otherwise."""
    first, second, *_ = sorted(long["atoms"]["atom"])
    real = allocation.cluster_streams

    def together(*arguments):
        found = real(*arguments)
        return replace(found, labels=(99, 99, *found.labels[2:]))

    monkeypatch.setattr(allocation, "cluster_streams", together)
    frames = like(long, first, -1.0, second)
    keys = {"risk_profiles": ("min_variance",), "structure": "two_layer"}
    outcome = desk.optimised(frames, **keys)
    left_out = [finding.symbol for finding in outcome.findings if finding.code == "DEGENERATE_ATOM"]
    assert left_out == [first, second]
    assert not {first, second} & set(weights(outcome, "min_variance"))


@pytest.mark.parametrize("name", [*OPTIONAL, "erc", "risk_budget", "hrp", "herc", "barbell", "adaptive"])
def test_a_constant_stream_has_no_weight_in_any_profile(desk, long, name):
    first = sorted(long["atoms"]["atom"])[0]
    frames = long | {"synthetic_returns": long["synthetic_returns"].with_columns(pl.lit(0.0).alias(first))}
    outcome = desk.optimised(frames, risk_profiles=(name,), budgets=BUDGETS)
    assert first not in weights(outcome, name)
    assert only(outcome, "DEGENERATE_ATOM").symbol == first


def test_streams_that_all_lose_have_no_ratio_but_every_other_profile(desk, long):
    losing = long | {
        "synthetic_returns": long["synthetic_returns"].with_columns(pl.exclude("date") * 0.01 - 0.05)
    }
    outcome = desk.optimised(losing, **ALL)
    status = {name: (held.status, held.reason) for name, held in portfolio(outcome).profiles.items()}
    assert status["max_sharpe"] == ("FALLBACK", "NON_POSITIVE_EXCESS")
    assert {status[name][0] for name in ("mean_variance", "min_variance", "min_cvar", "erc")} == {"OPTIMAL"}
    assert "NON_POSITIVE_EXCESS" in codes(outcome)


def test_solving_twice_gives_the_same_bits(desk, long, window):
    desk.optimised(long, risk_profiles=OPTIONAL)
    for one in window.solved:
        assert (solve(one.profile, one.problem, window.setting).weights == one.result.weights).all()
