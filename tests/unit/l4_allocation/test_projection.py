"""The projection on caps, groups and beta rows: its optimality, its algebra, and how it ends elsewhere."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantctl.allocation import Group, Problem, explain_infeasibility, project_capped
from quantctl.steps.l4_allocation.kernels import linear, projection
from quantctl.steps.l4_allocation.kernels.kkt import primal_violation

SETTINGS = settings(max_examples=150, deadline=None)


@st.composite
def polytopes(draw) -> tuple[Problem, np.random.Generator]:
    """Disjoint or overlapping groups, bounds of either sign and a beta row; some of them empty."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size, clusters = draw(st.integers(1, 30)), draw(st.integers(1, 6))
    labels = rng.integers(0, clusters, size)
    cap = draw(st.sampled_from([0.25, 1 / clusters, 0.5, 0.9]))
    floor = draw(st.sampled_from([None, 0.02]))
    groups = [Group(str(k), labels == k, floor, max(cap, 0.02)) for k in range(clusters)]
    if draw(st.booleans()):
        groups.append(Group("across", rng.random(size) < 0.5, None, float(rng.uniform(0.2, 1.0))))
    beta = rng.normal(0.0, 0.5, size) if draw(st.booleans()) else None
    lower = np.full(size, draw(st.sampled_from([0.0, -0.1, 0.01])))
    upper = np.full(size, draw(st.sampled_from([0.1, 0.25, 1.0, max(0.01, 1 / size)])))
    tolerance = draw(st.sampled_from([0.0, 0.1, 0.3]))
    problem = Problem(
        np.eye(size), lower=lower, upper=upper, groups=tuple(groups), beta=beta, beta_tol=tolerance
    )
    return problem, rng


def anywhere(size: int, rng: np.random.Generator) -> np.ndarray:
    return rng.dirichlet(np.full(size, 0.3)) * rng.choice([1.0, 5.0]) + 0.1 * rng.standard_normal(size)


def farthest(problem: Problem, direction: np.ndarray) -> float:
    """max d'z over the polytope, by a linear program."""
    budget, bounds = np.ones((1, problem.size)), (problem.floors, problem.caps)
    found = linear.solve(-direction, problem.rows.matrix, problem.rows.limit, budget, np.ones(1), bounds)
    assert found.value is not None
    return -found.value


@SETTINGS
@given(polytopes())
def test_the_projection_is_the_point_from_which_no_feasible_point_is_nearer(drawn):
    """w is the projection of v if and only if (v − w)'(z − w) ≤ 0 for every z of the polytope."""
    problem, rng = drawn
    target = anywhere(problem.size, rng)
    point = project_capped(target, problem)
    if point is None:
        certificate = explain_infeasibility(problem)
        assert certificate is not None and certificate["verified"]
        return
    assert primal_violation(problem, point) <= 1e-9
    away = target - point
    reach = max(1.0, float(np.abs(away).max()))
    assert farthest(problem, away) <= away @ point + 1e-7 * reach


@SETTINGS
@given(polytopes())
def test_the_projection_is_idempotent_and_never_moves_two_points_apart(drawn):
    problem, rng = drawn
    first, second = anywhere(problem.size, rng), anywhere(problem.size, rng)
    near, far = project_capped(first, problem), project_capped(second, problem)
    if near is None or far is None:
        assert near is None and far is None
        return
    assert project_capped(near, problem) == pytest.approx(near, abs=1e-8)
    assert np.linalg.norm(near - far) <= np.linalg.norm(first - second) + 1e-7


@pytest.mark.parametrize("total", [0.3, 0.8, 2.5])
def test_without_rows_the_projection_shifts_and_clips(total):
    """Without active bounds w = v + (1 − 1'v)/N; a cap takes its name out of the sum."""
    target = np.array([0.1, 0.2, 0.3, 0.4]) * total
    problem = Problem(np.eye(4), lower=np.full(4, -1.0), upper=np.full(4, 9.0))
    assert project_capped(target, problem) == pytest.approx(target + (1.0 - total) / 4, abs=1e-12)
    capped = Problem(np.eye(4), lower=np.full(4, -1.0), upper=np.array([9.0, 9.0, 9.0, 0.25]))
    rest = target[:3] + (0.75 - target[:3].sum()) / 3
    assert project_capped(target, capped) == pytest.approx([*rest, 0.25], abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_the_newton_path_and_the_conic_solver_agree(seed):
    rng = np.random.default_rng(seed)
    size = 40
    labels = np.arange(size) % 8
    groups = tuple(Group(str(k), labels == k, None, 0.14, "cluster") for k in range(8))
    beta = rng.normal(0.3, 0.5, size)
    problem = Problem(np.eye(size), upper=np.full(size, 0.08), groups=groups, beta=beta, beta_tol=0.15)
    target = anywhere(size, rng)
    exact = projection._newton(target, problem)
    _, conic = projection._conic(target, problem)
    assert exact == pytest.approx(conic, abs=1e-6)
    assert primal_violation(problem, exact) <= 1e-12
    assert ((exact - target) ** 2).sum() <= ((conic - target) ** 2).sum() + 1e-9


def test_a_newton_path_without_an_end_hands_over_to_the_conic_solver(monkeypatch):
    problem = Problem(np.eye(3), upper=np.full(3, 0.5))
    target = np.array([0.9, 0.1, 0.0])
    exact = project_capped(target, problem)
    monkeypatch.setattr(projection, "_newton", lambda weights, problem: None)
    assert project_capped(target, problem) == pytest.approx(exact, abs=1e-8)


def test_a_projection_imports_nothing_heavier_than_numpy():
    script = (
        "import sys, numpy as np\n"
        "from quantctl.steps.l4_allocation.kernels.problem import Problem\n"
        "from quantctl.steps.l4_allocation.kernels.projection import project_capped\n"
        "project_capped(np.array([0.9, 0.1, 0.0]), Problem(np.eye(3), upper=np.full(3, 0.5)))\n"
        "print(sorted({'scipy', 'clarabel', 'cvxpy', 'polars'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
