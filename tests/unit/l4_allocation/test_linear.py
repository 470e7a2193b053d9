"""Linear programs: a vertex and its value, or the word for why there is none."""

from __future__ import annotations

import numpy as np
import pytest

from quantctl.steps.l4_allocation.kernels import linear

SIMPLEX = {"equality": np.ones((1, 3)), "level": np.ones(1), "bounds": (np.zeros(3), np.ones(3))}


def test_the_cheapest_corner_of_the_simplex_is_found():
    found = linear.solve(np.array([0.3, 0.1, 0.2]), **SIMPLEX)
    assert found.status == "optimal" and found.value == pytest.approx(0.1, abs=1e-15)
    assert found.x == pytest.approx([0.0, 1.0, 0.0], abs=1e-15)


def test_without_bounds_every_variable_is_free():
    row = np.array([[-1.0, 0.0], [0.0, -1.0]])
    found = linear.solve(np.ones(2), row, np.array([5.0, 7.0]))
    assert found.x == pytest.approx([-5.0, -7.0]) and found.value == pytest.approx(-12.0)
    assert linear.solve(np.ones(2)).status == "unbounded"


def test_rows_that_conflict_are_infeasible_even_by_a_millionth():
    row = np.ones((1, 3))
    assert linear.solve(np.zeros(3), row, np.array([1.0]), **SIMPLEX).status == "optimal"
    found = linear.solve(np.zeros(3), row, np.array([1.0 - 1e-6]), **SIMPLEX)
    assert found.status == "infeasible" and found.x is None and found.value is None


def test_costs_that_the_solver_takes_for_infinite_are_a_failure_with_its_sentence():
    found = linear.solve(np.full(3, 1e20), **SIMPLEX)
    assert found.status == "failed" and found.message


def test_data_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="nan"):
        linear.solve(np.array([np.nan, 0.0, 0.0]), **SIMPLEX)
