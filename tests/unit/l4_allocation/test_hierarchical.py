"""HRP and HERC against published weights, literal readings of their definitions, and what bounds promise."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy

from quantctl.allocation import Group, Problem, herc, hrp
from quantctl.contracts.settings.allocation import HrpSettings
from quantctl.steps.l4_allocation.kernels.hierarchical import finished
from quantctl.steps.l4_allocation.kernels.hrp import bisect

LINKAGES = ("ward", "single", "average", "complete")
PAPER = HrpSettings(distance="euclidean", linkage="single")
KERNELS = (hrp, herc)


def covariance(size: int, seed: int, bars: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    bars = bars or 3 * size + 30
    factors = rng.standard_normal((bars, 3)) @ rng.normal(0.0, 0.6, (3, size))
    returns = (factors + rng.standard_normal((bars, size))) * rng.uniform(0.005, 0.05, size)
    return np.cov(returns.T, ddof=1).reshape(size, size) * 365


def paper_streams() -> np.ndarray:
    """`generateData` of López de Prado 2016: five independent series and noisy copies of five of them."""
    draws = np.random.RandomState(12345)
    first = draws.normal(0, 1, (10_000, 5))
    uniform = random.Random(12345)
    copied = [int(5 * uniform.random()) for _ in range(5)]  # `random.randint(0, 4)` of his Python 2
    return np.column_stack([first, first[:, copied] + draws.normal(0, 0.25, (10_000, 5))])


def paper_weights(cov: np.ndarray, linkage: str = "single") -> np.ndarray:
    """López de Prado 2016: `correlDist`, `getQuasiDiag`, `getClusterVar` and `getRecBipart`, as printed."""
    vol = np.sqrt(np.diag(cov))
    distance = np.sqrt(np.maximum((1 - cov / np.outer(vol, vol)) / 2, 0))
    np.fill_diagonal(distance, 0.0)
    link = hierarchy.linkage(distance, linkage).astype(int)
    order, count = link[-1, :2].tolist(), len(cov)
    while max(order) >= count:
        parts = [[item] if item < count else link[item - count, :2].tolist() for item in order]
        order = [item for part in parts for item in part]
    weights = np.ones(count)
    lists = [order]
    while lists:
        longer = [one for one in lists if len(one) > 1]
        lists = [half for one in longer for half in (one[: len(one) // 2], one[len(one) // 2 :])]
        for left, right in zip(lists[::2], lists[1::2], strict=True):
            risk_left, risk_right = cluster_variance(cov, left), cluster_variance(cov, right)
            alpha = 1 - risk_left / (risk_left + risk_right)
            weights[left] *= alpha
            weights[right] *= 1 - alpha
    return weights


def cluster_variance(cov: np.ndarray, members: list[int]) -> float:
    part = cov[np.ix_(members, members)]
    inverse = 1 / np.diag(part)
    inverse /= inverse.sum()
    return float(inverse @ part @ inverse)


def literal_bisection(problem: Problem, order: list[int], *, stdev: bool) -> np.ndarray:
    """Recursion on lists with the split interval of the specification, one branch at a time."""
    weights = np.zeros(problem.size)

    def descend(leaves, weight):
        if len(leaves) == 1:
            weights[leaves[0]] = weight
            return
        left, right = leaves[: len(leaves) // 2], leaves[len(leaves) // 2 :]
        power = 0.5 if stdev else 1.0
        risks = [cluster_variance(problem.cov, side) ** power for side in (left, right)]
        share = 1 - risks[0] / sum(risks)
        low, high = problem.floors, problem.caps
        if weight > 0:
            least = max(low[left].sum() / weight, 1 - high[right].sum() / weight)
            most = min(high[left].sum() / weight, 1 - low[right].sum() / weight)
            share = min(max(share, least), most)
        descend(left, weight * share)
        descend(right, weight * (1 - share))

    descend(list(order), 1.0)
    return weights


def literal_herc(cov: np.ndarray, linkage: str, *, euclidean: bool = False) -> tuple[np.ndarray, int]:
    """Section 9 of the specification word by word: sets of members, every pair, every k."""
    count = len(cov)
    vol = np.sqrt(np.diag(cov))
    distance = np.sqrt(np.clip((1 - cov / np.outer(vol, vol)) / 2, 0, 1))
    np.fill_diagonal(distance, 0.0)
    if euclidean:
        distance = np.sqrt(((distance[:, :, None] - distance[:, None, :]) ** 2).sum(axis=0))
    link = hierarchy.linkage(distance[np.triu_indices(count, 1)], linkage)
    members = {i: [i] for i in range(count)}
    parts = {count + k: (int(row[0]), int(row[1])) for k, row in enumerate(link)}
    cuts = {count: set(range(count))}
    for node, (left, right) in parts.items():
        members[node] = members[left] + members[right]
        cuts[count - (node - count) - 1] = (cuts[count - (node - count)] - {left, right}) | {node}

    def spread(node):
        pairs = [distance[i, j] for i, j in combinations(members[node], 2)]
        return np.mean(pairs) if pairs else 0.0

    most = min(count, max(8, round(np.sqrt(count))))
    w = {k: sum(spread(node) for node in cuts[k]) for k in range(1, most + 1)}
    bends = {k: w[k + 2] - 2 * w[k + 1] + w[k] for k in range(1, most - 1)}
    best = count if count <= 3 else 1 + min(k for k in bends if bends[k] >= max(bends.values()) - 1e-12)
    weights = np.zeros(count)

    def risk(node):
        return cluster_variance(cov, members[node]) if node in cuts[best] else sum(map(risk, parts[node]))

    def descend(node, weight):
        if node in cuts[best]:
            inverse = 1 / np.diag(cov)[members[node]]
            weights[members[node]] = weight * inverse / inverse.sum()
            return
        left, right = parts[node]
        share = 1 - risk(left) / (risk(left) + risk(right))
        descend(left, weight * share)
        descend(right, weight * (1 - share))

    descend(2 * count - 2, 1.0)
    return weights, best


@pytest.mark.filterwarnings("ignore:The symmetric")
def test_the_published_example_is_reproduced_digit_by_digit():
    """López de Prado 2016; the same table is 16.1 of his Advances in Financial Machine Learning (2018)."""
    cov = np.cov(paper_streams().T)
    result = hrp(Problem(cov), PAPER)
    assert [int(name) + 1 for name in result.notes["leaf_order"]] == [9, 2, 10, 1, 7, 3, 6, 4, 5, 8]
    published = [7.00, 7.59, 10.84, 19.03, 9.72, 10.19, 6.62, 9.10, 7.12, 12.79]
    np.testing.assert_allclose(100 * result.weights, published, atol=0.005)
    np.testing.assert_allclose(result.weights, paper_weights(cov), rtol=1e-10)


@pytest.mark.filterwarnings("ignore:The symmetric")
@given(seed=st.integers(0, 10**6), size=st.integers(2, 40), linkage=st.sampled_from(LINKAGES))
@settings(max_examples=60, deadline=None)
def test_hrp_is_the_code_of_the_paper_for_every_linkage(seed, size, linkage):
    cov = covariance(size, seed)
    ours = hrp(Problem(cov), HrpSettings(distance="euclidean", linkage=linkage)).weights
    np.testing.assert_allclose(ours, paper_weights(cov, linkage), atol=1e-12)


@given(
    seed=st.integers(0, 10**6), size=st.integers(2, 45), linkage=st.sampled_from(LINKAGES),
    distance=st.sampled_from(["direct", "euclidean"]), leaf_order=st.sampled_from(["dendrogram", "optimal"]),
    split_risk=st.sampled_from(["variance", "stdev"]), room=st.floats(1.0, 6.0), floor=st.floats(0.0, 0.9),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_all_options_and_bounds_give_the_literal_bisection(
    seed, size, linkage, distance, leaf_order, split_risk, room, floor
):
    rng = np.random.default_rng(seed)
    upper = np.minimum(rng.uniform(1.0, 2.0, size) * room / size, 1.0)
    problem = Problem(covariance(size, seed), lower=floor * upper / room / 2, upper=upper)
    options = HrpSettings(distance=distance, linkage=linkage, leaf_order=leaf_order, split_risk=split_risk)
    result = hrp(problem, options)
    order = [int(name) for name in result.notes["leaf_order"]]
    expected = literal_bisection(problem, order, stdev=split_risk == "stdev")
    np.testing.assert_allclose(result.weights, expected, atol=1e-12)
    assert (result.weights <= upper + 1e-12).all() and (result.weights >= problem.floors - 1e-12).all()
    assert result.warnings == () and result.notes["options"] == options.model_dump()


@given(seed=st.integers(0, 10**6), size=st.integers(2, 40), linkage=st.sampled_from(LINKAGES))
@settings(max_examples=80, deadline=None)
def test_herc_is_its_definition_word_by_word(seed, size, linkage):
    cov = covariance(size, seed)
    for euclidean in (False, True):
        options = HrpSettings(linkage=linkage, distance="euclidean" if euclidean else "direct")
        result = herc(Problem(cov), options)
        expected, clusters = literal_herc(cov, linkage, euclidean=euclidean)
        assert result.notes["k"] == clusters
        np.testing.assert_allclose(result.weights, expected, atol=1e-12)


def test_herc_considers_more_than_eight_clusters_from_eighty_atoms_on():
    blocks = np.kron(np.eye(9), np.full((12, 12), 0.9)) + 0.1 * np.eye(108)
    result = herc(Problem(blocks))
    assert result.notes["k"] == literal_herc(blocks, "ward")[1] == 9
    np.testing.assert_allclose(result.weights.sum(), 1.0, rtol=1e-14)


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("size", [2, 3, 7, 30])
def test_a_diagonal_covariance_gives_inverse_variances_for_any_tree(linkage, size):
    variances = np.random.default_rng(size).uniform(0.01, 1.0, size)
    expected = (1 / variances) / (1 / variances).sum()
    ours = hrp(Problem(np.diag(variances)), HrpSettings(linkage=linkage)).weights
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    order = np.random.default_rng(0).permutation(size)
    np.testing.assert_allclose(bisect(Problem(np.diag(variances)), order)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_two_and_three_atoms(kernel):
    assert kernel(Problem([[0.04]])).weights == pytest.approx([1.0])
    two = kernel(Problem([[0.04, 0.01], [0.01, 0.01]])).weights
    assert two == pytest.approx([0.2, 0.8])
    cov = np.array([[0.04, 0.03, 0.0], [0.03, 0.09, 0.0], [0.0, 0.0, 0.01]])
    three = kernel(Problem(cov))
    assert three.accepted and three.weights.sum() == pytest.approx(1.0)
    if kernel is herc:
        assert three.notes["k"] == 3
        # the third stream stands against the pair {0, 1}, whose risk is the sum of its variances
        top = 0.13 / (0.13 + 0.01)
        assert three.weights == pytest.approx([(1 - top) * 9 / 13, (1 - top) * 4 / 13, top])


@pytest.mark.parametrize("kernel", KERNELS)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 30))
@settings(max_examples=30, deadline=None)
def test_permuting_atoms_permutes_weights_and_units_change_nothing(kernel, seed, size):
    cov = covariance(size, seed)
    weights = kernel(Problem(cov)).weights
    order = np.random.default_rng(seed).permutation(size)
    # A leaf's side may change with the numbering, and with it the halves of the list: only the tree is given.
    if kernel is herc:
        shuffled = kernel(Problem(cov[np.ix_(order, order)])).weights
        np.testing.assert_allclose(shuffled, weights[order], atol=1e-12)
    for scale in (1e-8, 1e8):
        np.testing.assert_allclose(kernel(Problem(cov * scale)).weights, weights, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_duplicates_and_opposites_are_kept_and_weighted(kernel):
    cov = covariance(6, 3)
    copies = np.vstack([np.eye(6), np.eye(6)[:2], -np.eye(6)[2:3]])
    result = kernel(Problem(copies @ cov @ copies.T))
    assert result.accepted and (result.weights > 0).all()
    assert result.weights.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("seed", range(5))
def test_violated_rows_are_met_by_projection_and_reported(kernel, seed):
    free = kernel(Problem(covariance(12, seed)))
    members = np.arange(12) % 3 == 0
    cap = 0.5 * float(free.weights[members].sum())
    capped = Problem(covariance(12, seed), groups=(Group("1", members, None, cap, "cluster"),))
    result = kernel(capped)
    assert result.accepted and result.warnings == ("HRP_PROJECTED",)
    assert result.weights[members].sum() <= cap + 1e-9 and result.weights.min() >= -1e-9
    assert result.notes["projection_l1"] == pytest.approx(np.abs(result.weights - free.weights).sum())
    assert "cluster_cap[1]" in result.active


@pytest.mark.parametrize("kernel", KERNELS)
def test_bounds_that_nothing_can_meet_end_in_a_certificate(kernel):
    result = kernel(Problem(covariance(5, 0), upper=np.full(5, 0.15)))
    assert (result.status, result.weights) == ("INFEASIBLE", None)
    assert result.certificate["code"] == result.attempts[-1].code == "INFEASIBLE_CAPS"


def test_caps_of_herc_are_met_by_projection_and_those_of_hrp_by_the_splits():
    cov = covariance(10, 1)
    upper = np.full(10, 0.12)
    assert hrp(Problem(cov, upper=upper)).warnings == ()
    result = herc(Problem(cov, upper=upper))
    assert result.warnings == ("HRP_PROJECTED",) and (result.weights <= upper + 1e-9).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_caps_that_leave_one_point_give_that_point(kernel):
    result = kernel(Problem(covariance(8, 2), upper=np.full(8, 0.125)))
    assert result.accepted
    np.testing.assert_allclose(result.weights, np.full(8, 0.125), atol=1e-9)


def test_a_split_that_loses_weight_is_refused():
    problem = Problem(covariance(4, 0))
    result = finished(problem, np.full(4, 0.25), {}, splits=3, residual=1e-6)
    assert (result.status, result.weights, result.attempts[0].code) == (
        "SOLVER_FAILED",
        None,
        "SPLIT_IDENTITY",
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_same_problem_has_the_same_bits_and_is_not_changed(kernel):
    problem = replace(Problem(covariance(60, 9)), names=tuple(f"a{i:02d}" for i in range(60)))
    before = problem.cov.copy()
    first, second = kernel(problem), kernel(problem)
    np.testing.assert_array_equal(first.weights, second.weights)
    np.testing.assert_array_equal(problem.cov, before)
    assert first.notes == second.notes and sorted(first.notes["leaf_order"]) == sorted(problem.names)
