"""Equal risk and risk budgeting against published examples, closed forms and their own definition."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantctl.allocation import (
    Group,
    Problem,
    check_kkt,
    cluster_groups,
    condition_correlation,
    effective_caps,
    equal_risk,
    estimate_covariance,
    explain_infeasibility,
    risk_budget,
)
from quantctl.steps.l4_allocation.kernels import risk_newton
from quantctl.steps.l4_allocation.kernels.engine import NATIVE, RUNGS, Engine, reference_engine
from quantctl.steps.l4_allocation.kernels.risk_barrier import interior_point
from quantctl.steps.l4_allocation.kernels.risk_factors import krylov_factors, one_factor
from quantctl.steps.l4_allocation.kernels.risk_newton import balance_risk
from quantctl.steps.l4_allocation.kernels.risk_program import risk_program

REFERENCE = reference_engine()
ENGINES = [pytest.param(NATIVE, id="native"), pytest.param(REFERENCE, id="cvxpy")]
both_engines = pytest.mark.parametrize("engine", ENGINES)
RUNG_SETS = {
    "without the fast kernel": ("ipm", "polish", "clarabel"),
    "interior point alone": ("ipm",),
    "Clarabel alone": ("clarabel",),
}


def conditioned(returns: np.ndarray) -> np.ndarray:
    estimate = estimate_covariance(returns)
    corr = condition_correlation(estimate.corr, 5000.0).corr
    cov = corr * np.outer(estimate.vol, estimate.vol) * 365
    return (cov + cov.T) / 2


def book(size: int, seed: int, *, hedged: bool = False, bars: int | None = None) -> np.ndarray:
    """A covariance of streams on a market and two sector factors; in a hedged book every fourth is short."""
    rng = np.random.default_rng([size, seed])
    bars = bars or 3 * size + 30
    factors = rng.standard_normal((bars, 3)) * [1.0, 0.5, 0.5]
    loadings = np.vstack([rng.uniform(0.5, 1.5, size), rng.normal(0.0, 1.0, (2, size))])
    own = rng.standard_normal((bars, size)) * np.exp(rng.normal(0.0, 0.5, size))
    returns = 0.01 * (factors @ loadings + own)
    if hedged:
        returns[:, ::4] *= -1.0
    return conditioned(returns)


def clustered(cov: np.ndarray, labels: list[str], cap: float = 0.25, weight_max: float = 0.25) -> Problem:
    caps = effective_caps(labels, cap, weight_max)
    return Problem(cov, upper=np.minimum(caps.weights, 1.0), groups=cluster_groups(labels, caps.cluster))


def shares(cov: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weights * (cov @ weights) / (weights @ cov @ weights)


def assert_capped_promise(problem: Problem, budgets: np.ndarray, result) -> None:
    """x_i(Σx)_i ≤ λ b_i on every atom, with equality wherever no cap and no row is active."""
    weights = result.weights
    levels = result.duals["barrier"] * budgets / budgets.sum()
    contributions = weights * (problem.cov @ weights) / problem.mean_variance
    assert (contributions <= levels * (1.0 + 1e-8)).all()
    tight = weights >= problem.caps - 1e-9
    for group in problem.groups:
        assert group.members @ weights <= group.max + 1e-9
        if group.members @ weights >= group.max - 1e-9:
            tight |= group.members
    assert (weights <= problem.caps + 1e-9).all() and weights.sum() == pytest.approx(1.0, abs=1e-10)
    assert contributions[~tight] == pytest.approx(levels[~tight], rel=1e-8)


def partitions(total: int, largest: int | None = None):
    if total == 0:
        yield ()
        return
    for first in range(min(total, largest or total), 0, -1):
        for rest in partitions(total - first, first):
            yield (first, *rest)


@both_engines
def test_the_four_asset_example_of_the_erc_paper(engine):
    """Maillard, Roncalli & Teïletche 2010: vols 10-40 %, ρ12 = .8, ρ34 = −.5, others 0."""
    vol = np.array([0.1, 0.2, 0.3, 0.4])
    corr = np.array([[1, 0.8, 0, 0], [0.8, 1, 0, 0], [0, 0, 1, -0.5], [0, 0, -0.5, 1.0]])
    weights = equal_risk(Problem(corr * np.outer(vol, vol)), engine).weights
    assert np.round(100 * weights, 1) == pytest.approx([38.4, 19.2, 24.3, 18.2], abs=0.051)


@both_engines
def test_the_budgeting_example_of_the_risk_parity_book(engine):
    """Roncalli 2013, Introduction to Risk Parity and Budgeting, chapter 2: three assets with vols 30,
    20 and 15 %, ρ12 = .8, ρ13 = .5, ρ23 = .3, budgets 50, 20 and 30 % give 31.15, 21.90 and 46.96 %."""
    vol = np.array([0.30, 0.20, 0.15])
    corr = np.array([[1, 0.8, 0.5], [0.8, 1, 0.3], [0.5, 0.3, 1.0]])
    problem = Problem(corr * np.outer(vol, vol))
    weights = risk_budget(problem, np.array([0.5, 0.2, 0.3]), engine).weights
    assert 100 * weights == pytest.approx([31.15, 21.90, 46.96], abs=0.006)
    equal = equal_risk(problem, engine).weights
    assert 100 * equal == pytest.approx([19.69, 32.44, 47.87], abs=0.006)


@both_engines
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_independent_streams_get_the_roots_of_their_budgets_over_volatility(engine, scale):
    """With a diagonal Σ, x_i² σ_i² = b_i."""
    variances, budgets = np.array([0.01, 0.04, 0.09, 0.25, 1.0]), np.array([0.4, 0.3, 0.1, 0.1, 0.1])
    weights = risk_budget(Problem(scale * np.diag(variances)), budgets, engine).weights
    expected = np.sqrt(budgets / variances)
    assert weights == pytest.approx(expected / expected.sum(), abs=1e-12)


@both_engines
@pytest.mark.parametrize("rho", [-0.2, 0.0, 0.5, 0.95])
def test_one_correlation_gives_inverse_volatilities(engine, rho):
    """Maillard, Roncalli & Teïletche 2010, section 2."""
    vol = np.linspace(0.1, 0.6, 5)
    corr = np.full((5, 5), rho) + (1.0 - rho) * np.eye(5)
    weights = equal_risk(Problem(corr * np.outer(vol, vol)), engine).weights
    assert weights == pytest.approx((1 / vol) / (1 / vol).sum(), abs=1e-12)


@both_engines
@pytest.mark.parametrize("rho", [-0.999, -0.4, 0.0, 0.7])
def test_two_atoms_of_any_budget_split_risk_as_budgeted(engine, rho):
    vol, budgets = np.array([0.1, 0.9]), np.array([0.8, 0.2])
    cov = np.array([[1.0, rho], [rho, 1.0]]) * np.outer(vol, vol)
    result = risk_budget(Problem(cov), budgets, engine)
    assert result.attempts[-1].rung == "closed_form"
    assert shares(cov, result.weights) == pytest.approx(budgets, rel=1e-9)


@both_engines
def test_one_atom_takes_everything_or_is_certified_not_to_fit(engine):
    assert equal_risk(Problem(np.array([[0.04]])), engine).weights == pytest.approx([1.0])
    refused = equal_risk(Problem(np.array([[0.04]]), upper=np.array([0.9])), engine)
    assert (refused.status, refused.weights) == ("INFEASIBLE", None)
    assert refused.certificate["code"] == "INFEASIBLE_CAPS"


@pytest.mark.parametrize("size", [3, 20, 64, 65, 192, 193, 300])
@pytest.mark.parametrize("hedged", [False, True])
def test_risk_shares_equal_budgets_to_1e_10_at_every_size(size, hedged):
    cov = book(size, 1, hedged=hedged)
    budgets = np.random.default_rng(size).uniform(0.2, 1.0, size)
    result = risk_budget(Problem(cov), budgets)
    assert (result.status, result.attempts[-1].rung) == ("OPTIMAL", "fast")
    assert shares(cov, result.weights) == pytest.approx(budgets / budgets.sum(), rel=1e-10)


def test_the_iterative_and_the_factored_newton_agree():
    cov = book(200, 3, hedged=True)
    budgets = np.full(200, 1 / 200)
    iterative = balance_risk(cov, budgets)
    assert iterative.factorisations == 0
    assert iterative.x * (cov @ iterative.x) == pytest.approx(budgets, rel=1e-11)


def test_a_step_of_too_many_products_is_followed_by_factorisations(monkeypatch):
    cov, budgets = book(200, 3, hedged=True), np.full(200, 1 / 200)
    iterative = balance_risk(cov, budgets)
    monkeypatch.setattr(risk_newton, "MOST_PRODUCTS", 6)
    factored = balance_risk(cov, budgets)
    assert 0 < factored.factorisations <= 10 and factored.products < iterative.products
    assert factored.x == pytest.approx(iterative.x, rel=1e-9)


@both_engines
def test_a_perfect_hedge_has_no_equal_risk_and_no_weights(engine):
    """Two streams at ρ = −1, not conditioned: their sum has no risk at any size, so no minimum exists."""
    cov = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    result = equal_risk(Problem(cov), engine)
    assert (result.status, result.weights, result.certificate) == ("SOLVER_FAILED", None, None)


def test_work_stays_within_its_counts():
    """O(N²) products instead of factorisations in large books, at most ten factorisations in small ones."""
    one_signed = equal_risk(Problem(book(250, 5)))
    assert one_signed.attempts[-1].factorisations == 0 and one_signed.notes["products"] <= 30
    hedged = equal_risk(Problem(book(250, 5, hedged=True)))
    assert hedged.attempts[-1].factorisations == 0 and hedged.notes["products"] <= 120
    assert equal_risk(Problem(book(60, 5, hedged=True))).attempts[-1].factorisations <= 10


@pytest.mark.parametrize("hedged", [False, True])
def test_a_factor_model_keeps_variances_and_its_inverse_is_one(hedged):
    cov = book(160, 2, hedged=hedged)
    vol = np.sqrt(np.diag(cov))
    model = one_factor(cov.__matmul__, vol)
    assert (model is None) is hedged
    model = model or krylov_factors(cov.__matmul__, vol)
    assert model.loadings.shape == (160, 16 if hedged else 1)
    approximate = model.loadings @ model.loadings.T + np.diag(model.residual)
    assert (np.diag(approximate) >= np.diag(cov) * (1 - 1e-12)).all()
    vector, d = np.random.default_rng(0).standard_normal(160), np.linspace(0.1, 2.0, 160)
    solved = model.inverse(d)(vector)
    assert solved + d * (approximate @ (d * solved)) == pytest.approx(vector, abs=1e-9)
    assert model.press(vector) == pytest.approx(approximate @ vector)


def test_a_basis_that_spans_its_krylov_space_ends_early():
    model = krylov_factors(np.eye(40).__matmul__, np.ones(40))
    assert model.loadings.shape == (40, 1) and model.products == 1


@both_engines
def test_an_atom_without_budget_gets_no_weight(engine):
    cov, budgets = book(6, 4), np.array([0.3, 0.0, 0.2, 0.0, 0.4, 0.1])
    weights = risk_budget(Problem(cov), budgets, engine).weights
    assert (weights[[1, 3]] == 0.0).all()
    assert shares(cov, weights) == pytest.approx(budgets, rel=1e-8, abs=1e-15)


@both_engines
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_unit_of_the_covariance_changes_nothing(engine, scale):
    problem = clustered(book(12, 6), [str(i % 5) for i in range(12)])
    weights = equal_risk(replace(problem, cov=scale * problem.cov), engine).weights
    assert weights == pytest.approx(equal_risk(problem, engine).weights, abs=1e-12)


@pytest.mark.parametrize("size", [14, 160])
def test_permuting_atoms_permutes_weights(size):
    problem = clustered(book(size, 7, hedged=True), [str(i % 6) for i in range(size)], weight_max=3 / size)
    order = np.random.default_rng(1).permutation(size)
    shuffled = Problem(
        problem.cov[np.ix_(order, order)], upper=problem.caps[order],
        groups=tuple(g._replace(members=g.members[order]) for g in problem.groups),
    )  # fmt: skip
    assert equal_risk(shuffled).weights == pytest.approx(equal_risk(problem).weights[order], abs=1e-11)


@both_engines
def test_duplicate_streams_get_equal_weights_and_opposite_ones_their_share_of_risk(engine):
    base = np.random.default_rng(3).standard_normal((300, 4)) * 0.02
    cov = conditioned(np.column_stack([base, base[:, 0], -base[:, 1]]))
    weights = equal_risk(Problem(cov), engine).weights
    assert weights[0] == pytest.approx(weights[4], rel=1e-9)
    assert shares(cov, weights) == pytest.approx(np.full(6, 1 / 6), rel=1e-8)


@both_engines
def test_fewer_bars_than_streams_still_balance(engine):
    cov = book(40, 8, bars=25)
    weights = equal_risk(Problem(cov), engine).weights
    assert shares(cov, weights) == pytest.approx(np.full(40, 1 / 40), rel=1e-8)


@both_engines
@pytest.mark.parametrize("seed", range(4))
def test_caps_bound_every_contribution_and_the_free_ones_are_equal(engine, seed):
    rng = np.random.default_rng(seed)
    labels = [str(1 + (i if i < 5 else int(rng.integers(5)))) for i in range(16)]
    problem = clustered(book(16, seed, hedged=bool(seed % 2)), labels, weight_max=0.1)
    budgets = rng.uniform(0.2, 1.0, 16)
    result = risk_budget(problem, budgets, engine)
    assert result.status == "OPTIMAL" and result.active
    assert_capped_promise(problem, budgets, result)


@both_engines
@pytest.mark.parametrize("sizes", [(5, 5, 1), (1, 1, 1, 9), (6, 6), (3, 1), (2, 2, 1, 1), (11, 1)], ids=str)
def test_clusters_that_force_their_weights_leave_the_split_inside_to_risk(engine, sizes):
    """Four clusters or fewer fill their caps: λ is then the smallest, where one multiplier is zero."""
    labels = [str(k) for k, size in enumerate(sizes) for _ in range(size)]
    problem = clustered(book(len(labels), 9), labels)
    result = equal_risk(problem, engine)
    assert result.status == "OPTIMAL"
    assert [g.members @ result.weights for g in problem.groups] == pytest.approx(
        [1.0 / len(sizes)] * len(sizes), abs=1e-9
    )
    rows = [result.duals.get(f"cluster_cap[{g.name}]", 0.0) for g in problem.groups]
    assert min(rows) == pytest.approx(0.0, abs=1e-9)


@both_engines
def test_caps_that_leave_one_point_give_that_point_with_the_smallest_barrier(engine):
    upper = np.array([0.1, 0.2, 0.3, 0.4])
    problem = Problem(book(4, 10), upper=upper)
    result = equal_risk(problem, engine)
    assert (result.status, result.attempts[-1].rung) == ("OPTIMAL", "closed_form")
    assert result.weights == pytest.approx(upper, abs=1e-15)
    multipliers = [result.duals.get(f"weight_max[{n}]", 0.0) for n in problem.names]
    assert min(multipliers) == pytest.approx(0.0, abs=1e-12)


@both_engines
def test_redundant_and_overlapping_rows_do_not_disturb(engine):
    problem = clustered(book(10, 11), ["a"] * 4 + ["b"] * 3 + ["c"] * 3, cap=0.4, weight_max=0.2)
    plain = equal_risk(problem, engine).weights
    members = problem.groups[0].members
    twice = replace(
        problem,
        groups=(
            *problem.groups, Group("again", members, None, 0.4), Group("all", np.ones(10, bool), None, 1.0)
        ),
    )  # fmt: skip
    assert equal_risk(twice, engine).weights == pytest.approx(plain, abs=1e-9)


@both_engines
def test_caps_that_cannot_be_filled_are_certified(engine):
    problem = clustered(book(8, 12), ["a"] * 4 + ["b"] * 4, cap=0.5)
    short = replace(problem, groups=tuple(g._replace(max=0.4) for g in problem.groups))
    result = equal_risk(short, engine)
    assert (result.status, result.weights) == ("INFEASIBLE", None)
    assert result.certificate["code"] == "INFEASIBLE_CAPS" and result.certificate["verified"]
    assert result.attempts[-1].rung == "certificate"


@both_engines
def test_rows_that_starve_an_atom_have_no_solution_and_no_certificate(engine):
    """Σx = 1 needs x₁ = 0 here, which no budget above 0 admits: feasible, yet no λ exists."""
    pairs = [np.array([True, True, False]), np.array([True, False, True])]
    groups = tuple(Group(str(k), members, None, 0.5) for k, members in enumerate(pairs))
    problem = Problem(book(3, 13), groups=groups)
    assert explain_infeasibility(problem) is None
    result = equal_risk(problem, engine)
    assert (result.status, result.weights, result.certificate) == ("SOLVER_FAILED", None, None)


def test_equal_risk_and_equal_budgets_are_the_same_bytes():
    problem = clustered(book(15, 14), [str(i % 4) for i in range(15)])
    one, other = equal_risk(problem), risk_budget(problem, np.full(15, 1 / 15))
    assert one.weights.tobytes() == other.weights.tobytes() and one.duals == other.duals
    assert equal_risk(problem).weights.tobytes() == one.weights.tobytes()


@pytest.mark.parametrize("rungs", RUNG_SETS.values(), ids=RUNG_SETS)
@pytest.mark.parametrize(("size", "cap"), [(6, 1.0), (18, 0.2), (40, 0.15)])
def test_disabling_rungs_changes_the_trace_and_not_the_weights(rungs, size, cap):
    problem = clustered(book(size, 15, hedged=True), [str(i % 7) for i in range(size)], cap, cap)
    expected, other = equal_risk(problem), equal_risk(problem, Engine(rungs))
    assert other.status == "OPTIMAL" and other.attempts[-1].rung in rungs
    assert other.weights == pytest.approx(expected.weights, abs=1e-8)


def test_an_engine_without_rungs_fails_and_says_nothing_else():
    result = equal_risk(Problem(book(5, 1)), Engine(()))
    assert (result.status, result.weights, result.attempts) == ("SOLVER_FAILED", None, ())
    assert RUNGS[1] == "fast"


def test_the_interior_point_ends_centred_and_below_the_sum():
    problem = clustered(book(20, 16), [str(i % 5) for i in range(20)], weight_max=0.08)
    program = risk_program(problem, np.full(20, 0.05))
    found = interior_point(program, np.full(20, 0.05), 0.5)
    assert found.outcome == "optimal" and found.iterations <= 20
    assert found.point.x.sum() == pytest.approx(1.0 - 1e-5, abs=1e-8)
    assert (found.point.x < program.upper).all() and (program.rows @ found.point.x < program.limit).all()


def test_a_corrupted_weight_barrier_or_multiplier_is_rejected():
    problem = clustered(book(12, 17), [str(i % 3) for i in range(12)])
    budgets, result = np.full(12, 1 / 12), equal_risk(problem)

    def judged(weights, duals):
        return check_kkt(problem, weights, duals, formulation="risk_budget", budgets=budgets).status

    assert judged(result.weights, result.duals) == "OPTIMAL"
    moved = result.weights + 1e-4 * np.array([1.0, -1.0] + [0.0] * 10)
    assert judged(moved, result.duals) == "SOLVER_FAILED"
    row = next(name for name in result.duals if name.startswith("cluster_cap"))
    for name in ("barrier", row):
        wrong = result.duals | {name: result.duals[name] * (1.0 + 1e-4)}
        assert judged(result.weights, wrong) == "SOLVER_FAILED"
    assert judged(result.weights, result.duals | {row: -1.0}) == "SOLVER_FAILED"


@pytest.mark.parametrize("total", range(1, 21))
def test_every_partition_of_up_to_twenty_atoms_is_solved_at_the_default_caps(total):
    cov = book(total, 18) if total > 1 else np.array([[0.04]])
    for sizes in partitions(total):
        labels = [str(k) for k, size in enumerate(sizes) for _ in range(size)]
        result = equal_risk(clustered(cov, labels))
        assert result.status == "OPTIMAL" and result.kkt.primal <= 1e-10, sizes
        assert all(attempt.rung != "clarabel" for attempt in result.attempts), sizes


@pytest.mark.parametrize("seed", range(240))
def test_the_native_kernel_agrees_with_the_formulation_on_random_capped_problems(seed):
    """Tight caps, overlapping groups, unequal budgets, T < N and hedges, in turn."""
    rng = np.random.default_rng([19, seed])
    size = int(rng.integers(3, 22))
    labels = [str(int(rng.integers(1 + size // 2))) for _ in range(size)]
    cov = book(size, seed, hedged=bool(seed % 2), bars=size // 2 + 20 if seed % 3 else None)
    problem = clustered(cov, labels, float(rng.choice([0.1, 0.25, 0.4])), float(rng.choice([0.1, 0.25, 0.5])))
    if seed % 4 == 0:
        over = Group("over", rng.random(size) < 0.5, None, 0.7)
        problem = replace(problem, groups=(*problem.groups, over))
    budgets = np.full(size, 1.0) if seed % 5 else rng.uniform(0.1, 1.0, size)
    ours, theirs = risk_budget(problem, budgets), risk_budget(problem, budgets, REFERENCE)
    assert ours.status == theirs.status
    if ours.weights is not None:
        assert ours.weights == pytest.approx(theirs.weights, abs=1e-8)
        assert_capped_promise(problem, budgets, ours)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(2, 24), seed=st.integers(0, 10_000), hedged=st.booleans(),
    floor=st.floats(1e-6, 1.0),
)  # fmt: skip
def test_any_book_and_any_budgets_balance(size, seed, hedged, floor):
    cov = book(size, seed, hedged=hedged)
    budgets = np.random.default_rng(seed).uniform(floor, 1.0, size)
    result = risk_budget(Problem(cov), budgets)
    assert result.status == "OPTIMAL"
    assert shares(cov, result.weights) == pytest.approx(budgets / budgets.sum(), rel=1e-8)


def test_the_native_kernel_imports_neither_a_modelling_library_nor_a_conic_solver():
    code = (
        "import sys, numpy as np\n"
        "from quantctl.allocation import Problem, equal_risk\n"
        "cov = np.diag([1.0, 2.0, 3.0, 4.0, 5.0]) + 0.5\n"
        "assert equal_risk(Problem(cov, upper=np.full(5, 0.22))).status == 'OPTIMAL'\n"
        "print([m for m in ('cvxpy', 'clarabel', 'scipy.optimize', 'scipy.stats') if m in sys.modules])\n"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
