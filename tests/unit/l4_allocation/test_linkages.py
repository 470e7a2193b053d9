"""The compiled linkages against the greedy algorithm of the selection and SciPy's front door."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy

from quantctl.steps.l2_selection.ward import ward_rows
from quantctl.steps.l4_allocation.kernels import linkages
from quantctl.steps.l4_allocation.kernels.linkages import MOST, chained_rows, linked

SEEDS = st.integers(0, 10**6)


def squares(points):
    squared = np.square(points[:, None] - points).sum(-1)
    return (squared + squared.T) / 2.0


def assert_tree_of_our_rule(squared):
    ours, expected = linked(squared.copy(), "ward"), ward_rows(squared.copy())
    np.testing.assert_array_equal(ours[:, [0, 1, 3]], expected[:, [0, 1, 3]])
    np.testing.assert_allclose(ours[:, 2], expected[:, 2], rtol=1e-13, atol=0.0)


@given(seed=SEEDS, count=st.integers(2, 90), dimension=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_points_without_ties_are_chained_into_the_tree_of_the_selection(seed, count, dimension):
    points = np.random.default_rng(seed).standard_normal((count, dimension))
    assert_tree_of_our_rule(squares(points))
    assert count == 2 or chained_rows(squares(points)) is not None


@given(seed=SEEDS, count=st.integers(2, 40), levels=st.integers(1, 30))
@settings(max_examples=80, deadline=None)
def test_distances_of_few_values_tie_by_our_rule(seed, count, levels):
    upper = np.triu(np.random.default_rng(seed).integers(1, levels + 1, (count, count)).astype(float), 1)
    assert_tree_of_our_rule(np.square(upper + upper.T))


@given(seed=SEEDS, count=st.integers(2, 30))
@settings(max_examples=80, deadline=None)
def test_mirrored_points_tie_above_the_leaves_by_our_rule(seed, count):
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((count, 2))
    both = rng.permutation(np.concatenate([half, half * [-1.0, 1.0]]))
    assert_tree_of_our_rule(squares(both))


@given(seed=SEEDS, count=st.integers(3, 40), copies=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_copies_of_a_stream_are_left_to_our_rule(seed, count, copies):
    points = np.random.default_rng(seed).standard_normal((count, 4))
    points[-copies:] = points[0]
    assert chained_rows(squares(points)) is None
    assert_tree_of_our_rule(squares(points))


def test_a_tie_that_only_two_merged_points_have_is_seen():
    """b a a' c on a line, mirrored at its middle: each has one nearest neighbour, until a and a' merge."""
    points = np.array([[0.0], [2.0], [3.0], [5.0]])
    assert [np.count_nonzero(row == np.sort(row)[1]) for row in squares(points)] == [1, 1, 1, 1]
    assert chained_rows(squares(points)) is None


def test_many_leaves_are_merged_in_rounds_and_few_are_chained():
    rng = np.random.default_rng(5)
    for count, chained in ((MOST, True), (MOST + 1, False)):
        squared = squares(rng.standard_normal((count, 8)))
        assert (chained_rows(squared) is not None) == chained
        assert_tree_of_our_rule(squared)


@pytest.mark.parametrize("method", ["single", "average", "complete"])
@pytest.mark.parametrize("compiled", [True, False])
def test_other_linkages_are_bytes_of_scipy(method, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(linkages, "_compiled", lambda: None)
    for count in (2, 3, 40, MOST + 1):
        squared = squares(np.random.default_rng(count).standard_normal((count, 3)))
        expected = hierarchy.linkage(np.sqrt(squared[np.triu_indices(count, 1)]), method)
        assert linked(squared, method).tobytes() == expected.tobytes()


def test_a_scipy_without_the_kernels_changes_no_tree(monkeypatch):
    squared = squares(np.random.default_rng(7).standard_normal((50, 4)))
    expected = linked(squared.copy(), "ward")
    monkeypatch.setattr(linkages, "_compiled", lambda: None)
    np.testing.assert_allclose(linked(squared, "ward"), expected, rtol=1e-13)


def test_a_tree_is_grown_without_the_import_of_the_cluster_package():
    code = (
        "import sys, numpy as np; from quantctl.allocation import Problem, hrp, herc\n"
        "problem = Problem(np.eye(6) + np.outer(np.arange(6), np.arange(6)) / 9.0)\n"
        "assert hrp(problem).accepted and herc(problem).accepted\n"
        "assert 'scipy.cluster' not in sys.modules and 'scipy.spatial' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
