"""Ends of a spectrum by Lanczos between proofs: right by a dense decomposition, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantctl.allocation import condition_correlation, estimate_covariance
from quantctl.steps.l4_allocation.kernels import conditioning, extremes
from quantctl.steps.l4_allocation.kernels.extremes import MANY, proven_ends

LIMIT = 5000.0
SEEDS = st.integers(0, 10**6)


def correlation(size, bars, seed, *, load=1.0, copies=0, method="ledoit_wolf"):
    rng = np.random.default_rng(seed)
    streams = load * rng.standard_normal((bars, 1)) + rng.standard_normal((bars, size))
    for copy in range(copies):
        streams[:, -1 - copy] = streams[:, copy] + 1e-4 * rng.standard_normal(bars)
    return estimate_covariance(streams, method).corr


def assert_right_or_refused(corr, limit=LIMIT):
    """κ to κ · 1e-14, as the reduction has it."""
    ends = proven_ends(corr, limit)
    if ends is not None:
        values = np.linalg.eigvalsh(corr)
        np.testing.assert_allclose(ends[1], values[-1], rtol=1e-13)
        np.testing.assert_allclose(ends[0], values[0], rtol=1e-12, atol=2e-14 * values[-1])
    return ends


@given(
    seed=SEEDS, size=st.integers(24, 120), bars=st.integers(15, 300), load=st.floats(0.0, 3.0),
    copies=st.integers(0, 5), method=st.sampled_from(["ledoit_wolf", "sample"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_ends_are_those_of_the_full_decomposition_or_refused(seed, size, bars, load, copies, method):
    assert_right_or_refused(correlation(size, bars, seed, load=load, copies=copies, method=method))


@given(seed=SEEDS, size=st.integers(40, 120), cluster=st.integers(2, 20), gap=st.floats(0.0, 1e-3))
@settings(max_examples=40, deadline=None)
def test_a_cluster_of_smallest_eigenvalues_hides_none(seed, size, cluster, gap):
    rng = np.random.default_rng(seed)
    values = np.sort(rng.uniform(0.5, 2.0, size))
    values[:cluster] = 0.1 * (1.0 + gap * np.arange(cluster))
    values[-1] = 0.4 * size
    basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
    matrix = basis * values @ basis.T
    assert_right_or_refused((matrix + matrix.T) / 2.0, 1.0)


@pytest.mark.parametrize("size", [60, 200])
@pytest.mark.parametrize("hidden", [0.03, 0.099, 0.0999999])
def test_an_eigenvalue_that_the_start_cannot_see_is_excluded_by_the_proof(size, hidden):
    """Its vector is orthogonal to the start, so that no Krylov space of it holds the eigenvalue."""
    rng = np.random.default_rng(1)
    start = np.random.default_rng(0).standard_normal(size)
    blind = rng.standard_normal(size)
    blind -= start * (start @ blind) / (start @ start)
    basis = np.linalg.qr(np.column_stack([blind, start, rng.standard_normal((size, size - 2))]))[0]
    rest = basis[:, 1:] @ np.linalg.qr(rng.standard_normal((size - 1, size - 1)))[0]
    values = np.concatenate([[0.1], rng.uniform(0.3, 2.0, size - 3), [0.5 * size]])
    matrix = rest * values @ rest.T + hidden * np.outer(basis[:, 0], basis[:, 0])
    matrix = (matrix + matrix.T) / 2.0
    assert proven_ends((rest * values @ rest.T + np.outer(basis[:, 0], basis[:, 0])), 1.0) is not None
    assert_right_or_refused(matrix, 1.0)
    bounded = proven_ends(matrix, LIMIT)
    assert bounded is None or bounded[1] < LIMIT * np.linalg.eigvalsh(matrix)[0]


CLOSED = {
    "identity": np.eye(80), "constant": 0.5 + 0.5 * np.eye(80), "one stream": np.ones((80, 80)),
    "blocks": np.kron(np.eye(8), 0.9 + 0.1 * np.eye(10)),
}  # fmt: skip


@pytest.mark.parametrize("matrix", CLOSED.values(), ids=CLOSED)
def test_a_space_that_closes_early_is_refused_or_right(matrix):
    assert_right_or_refused(matrix)


def test_singular_and_undominated_matrices_are_left_to_the_reduction():
    assert proven_ends(correlation(100, 40, 3, method="sample"), LIMIT) is None
    assert proven_ends(correlation(100, 2000, 3, load=0.0), LIMIT) is None


@pytest.mark.parametrize(("bars", "factors"), [(2000, 1), (700, 2)])
def test_a_large_matrix_takes_one_factorisation_and_a_second_where_it_needs_a_ridge(
    bars, factors, monkeypatch
):
    corr = correlation(MANY, bars, 7)
    shifts, factor = [], extremes._factor

    def counted(columns, shift):
        shifts.append(shift)
        return factor(columns, shift)

    monkeypatch.setattr(extremes, "_factor", counted)
    result = condition_correlation(corr, LIMIT)
    assert len(shifts) == factors and (result.intensity > 0.0) == (factors == 2)
    monkeypatch.setattr(conditioning, "proven_ends", lambda *_: None)
    reduced = condition_correlation(corr, LIMIT)
    np.testing.assert_allclose(result.corr, reduced.corr, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(result[1:], reduced[1:], rtol=1e-11)
    values = np.linalg.eigvalsh(result.corr)
    assert values[-1] < LIMIT * values[0]


def test_memory_order_and_repetition_do_not_change_a_bit():
    corr = correlation(MANY, 700, 9, load=1.5)
    results = [condition_correlation(each, LIMIT) for each in (corr, np.asfortranarray(corr), corr.copy())]
    assert len({(each.corr.tobytes(), *each[1:]) for each in results}) == 1
