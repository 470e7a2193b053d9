"""Ward by rounds against the greedy algorithm that defines it: same merges, same ties, same heights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantctl.steps.l2_selection.ward import ward_linkage, ward_rows


def greedy(distance):
    """Merge the closest pair, the first of equally close ones, and update; O(N³)."""
    squared = np.square(distance)
    count = len(squared)
    np.fill_diagonal(squared, np.inf)
    sizes, names, merges = np.ones(count), list(range(count)), []
    for step in range(count - 1):
        i, j = sorted(np.unravel_index(np.argmin(squared), squared.shape))
        close = squared[i, j]
        merges.append((*sorted((names[i], names[j])), np.sqrt(close), sizes[i] + sizes[j]))
        row = (sizes[i] + sizes) * squared[i] + (sizes[j] + sizes) * squared[j] - sizes * close
        squared[i] = squared[:, i] = row / (sizes[i] + sizes[j] + sizes)
        squared[i, i] = np.inf
        squared[j] = squared[:, j] = np.inf
        sizes[i] += sizes[j]
        names[i] = count + step
    return np.array(merges, dtype=float).reshape(-1, 4)


def assert_same_tree(distance):
    ours = np.array(ward_linkage(distance), dtype=float).reshape(-1, 4)
    expected = greedy(distance)
    np.testing.assert_array_equal(ours[:, [0, 1, 3]], expected[:, [0, 1, 3]])
    np.testing.assert_allclose(ours[:, 2], expected[:, 2], rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 10**6), count=st.integers(1, 90), dimension=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_rounds_make_the_merges_of_the_greedy_algorithm(seed, count, dimension):
    points = np.random.default_rng(seed).standard_normal((count, dimension))
    assert_same_tree(np.sqrt(((points[:, None] - points) ** 2).sum(-1)))


@given(seed=st.integers(0, 10**6), count=st.integers(2, 70), levels=st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_distances_of_a_few_values_tie_as_in_the_greedy_algorithm(seed, count, levels):
    upper = np.triu(np.random.default_rng(seed).integers(1, levels + 1, (count, count)).astype(float), 1)
    assert_same_tree(upper + upper.T)


@given(seed=st.integers(0, 10**6), count=st.integers(2, 70))
@settings(max_examples=60, deadline=None)
def test_points_of_a_lattice_with_duplicates_tie_as_in_the_greedy_algorithm(seed, count):
    points = np.random.default_rng(seed).integers(0, 4, (count, 2)).astype(float)
    assert_same_tree(np.sqrt(((points[:, None] - points) ** 2).sum(-1)))


def test_a_chain_in_which_only_one_pair_is_mutual_is_merged_to_its_end():
    points = np.cumsum(1.01 ** np.arange(200))
    assert_same_tree(np.abs(points[:, None] - points))


@pytest.mark.parametrize("seed", range(20))
def test_distances_that_are_symmetric_only_to_rounding_still_end_in_one_tree(seed):
    rng = np.random.default_rng(seed)
    noisy = 0.5 * (1 + 1e-15 * rng.integers(-2, 3, (60, 60)))
    rows = ward_rows(noisy)
    assert sorted(rows[:, :2].ravel()) == list(range(118)) and rows[-1, 3] == 60
