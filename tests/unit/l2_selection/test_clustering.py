"""Clusters of return columns: Ward against SciPy, tie rule, cuts, conditioning, undefined windows."""

from __future__ import annotations

import numpy as np
import pytest

from quantctl.contracts.errors import ContractError
from quantctl.contracts.settings.selection import ClusterSettings
from quantctl.steps.l2_selection.clustering import cluster_streams
from quantctl.steps.l2_selection.ward import cut, ward_linkage

KAPPA = 5000.0


def factor_returns(rows: int, groups: int, per_group: int, seed: int = 7, load: float = 0.9) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = np.repeat(rng.standard_normal((rows, groups)), per_group, axis=1)
    own = rng.standard_normal((rows, groups * per_group))
    return 0.02 * (load * common + np.sqrt(1 - load**2) * own)


def names_of(count: int) -> list[str]:
    return [f"BINANCE:A{i:03d}" for i in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_ward_heights_and_partitions_equal_scipys(seed: int) -> None:
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    points = np.random.default_rng(seed).standard_normal((60, 4))
    distance = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    merges = ward_linkage(distance)
    peer = hierarchy.linkage(distance[np.triu_indices(60, 1)], "ward")
    np.testing.assert_allclose([m.height for m in merges], peer[:, 2], rtol=1e-10)
    for count in (2, 5, 17):
        ours = np.array(cut(merges, 60, count))
        theirs = hierarchy.fcluster(peer, count, "maxclust")
        assert ((ours[:, None] == ours) == (theirs[:, None] == theirs)).all()


def test_equally_close_pairs_merge_by_smallest_member() -> None:
    merges = ward_linkage(np.ones((4, 4)) - np.eye(4))
    assert [(m.left, m.right) for m in merges] == [(0, 1), (2, 4), (3, 5)]
    apart = np.full((4, 4), 3.0) - 2.0 * np.kron(np.eye(2), np.ones((2, 2))) - np.eye(4)
    assert [(m.left, m.right) for m in ward_linkage(apart)] == [(0, 1), (2, 3), (4, 5)]


def test_planted_groups_are_found_and_ids_follow_the_smallest_member() -> None:
    names = names_of(12)
    result = cluster_streams(factor_returns(400, 3, 4), names, ClusterSettings(), KAPPA)
    assert result.members == {1: tuple(names[:4]), 2: tuple(names[4:8]), 3: tuple(names[8:])}
    assert result.labels == (1,) * 4 + (2,) * 4 + (3,) * 4
    assert 0.7 < result.mean_rho[1] < 0.9
    assert result.lookbacks_used == (60, 120, 200)


def test_column_order_does_not_matter() -> None:
    values, names = factor_returns(300, 6, 5, load=0.6), names_of(30)
    result = cluster_streams(values, names, ClusterSettings(), KAPPA)
    shuffled = np.random.default_rng(1).permutation(30)
    again = cluster_streams(values[:, shuffled], [names[i] for i in shuffled], ClusterSettings(), KAPPA)
    assert again.members == result.members
    assert again.linkage == result.linkage
    assert again.labels == tuple(result.labels[i] for i in shuffled)


def test_near_clones_end_below_the_condition_limit() -> None:
    rng = np.random.default_rng(3)
    values = 0.02 * rng.standard_normal((250, 1)) + 1e-7 * rng.standard_normal((250, 20))
    result = cluster_streams(values, names_of(20), ClusterSettings(ridge_floor=0.0), KAPPA)
    assert len(result.ridge) == 3
    assert all(r.intensity > 0.0 and r.kappa_after < KAPPA for r in result.ridge)
    assert len(result.members) == 1


def test_singular_window_has_a_null_kappa_with_a_reason() -> None:
    result = cluster_streams(factor_returns(250, 40, 2), names_of(80), ClusterSettings(), KAPPA)
    assert result.ridge[0].kappa_before is None
    assert result.ridge[0].kappa_before_reason == "CORR_SINGULAR"
    assert result.ridge[2].kappa_before is not None


def test_short_lookbacks_are_dropped_with_a_finding_and_do_not_flatten_distances() -> None:
    settings = ClusterSettings(lookbacks=(5, 60))
    result = cluster_streams(factor_returns(100, 2, 4), names_of(8), settings, KAPPA)
    assert result.lookbacks_used == (60,)
    assert [f.code for f in result.findings] == ["CLUSTER_LOOKBACK_TOO_SHORT"]
    assert len(result.members) == 2


def test_the_whole_matrix_serves_when_no_lookback_fits() -> None:
    assert cluster_streams(
        factor_returns(45, 2, 2), names_of(4), ClusterSettings(), KAPPA
    ).lookbacks_used == (45,)


def test_the_configured_height_is_the_one_used() -> None:
    values, names = factor_returns(400, 3, 4), names_of(12)
    tight = cluster_streams(values, names, ClusterSettings(threshold=0.05), KAPPA)
    loose = cluster_streams(values, names, ClusterSettings(threshold=5.0), KAPPA)
    assert (len(tight.members), len(loose.members)) == (12, 1)


def test_weakly_correlated_universe_is_cut_to_the_cap_and_says_so() -> None:
    values = np.random.default_rng(5).standard_normal((300, 60)) * 0.01
    result = cluster_streams(values, names_of(60), ClusterSettings(threshold=0.45), KAPPA)
    assert len(result.members) == 25
    assert [f.code for f in result.findings] == ["CLUSTER_CAP_BINDING"]


def test_window_without_variance_is_left_out_of_the_average() -> None:
    values, names = factor_returns(300, 2, 4), names_of(8)
    values[-60:, 0] = 0.0
    result = cluster_streams(values, names, ClusterSettings(), KAPPA)
    assert result.labels[0] == result.labels[1]
    assert not result.findings


def test_column_without_any_variance_counts_as_uncorrelated() -> None:
    values = factor_returns(300, 2, 4)
    values[:, 0] = 0.0
    result = cluster_streams(values, names_of(8), ClusterSettings(), KAPPA)
    assert [(f.code, f.symbol) for f in result.findings] == [("CORR_UNDEFINED", "BINANCE:A000")]
    assert result.members[1] == ("BINANCE:A000",)


def test_one_asset_is_one_cluster() -> None:
    result = cluster_streams(factor_returns(100, 1, 1), ["X:A"], ClusterSettings(), KAPPA)
    assert result.members == {1: ("X:A",)}
    assert result.mean_rho == {1: 0.0}
    assert result.linkage == ()


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused(poison: float) -> None:
    values = factor_returns(100, 1, 2)
    values[3, 1] = poison
    with pytest.raises(ContractError, match="non-finite") as caught:
        cluster_streams(values, names_of(2), ClusterSettings(), KAPPA)
    assert (caught.value.code, caught.value.exit_code) == ("CLUSTER_INPUT", 3)


@pytest.mark.parametrize(
    ("shape", "names", "told"),
    [
        ((100, 0), [], "100 rows and 0 columns for 0 names"),
        ((1, 2), ["X:A", "X:B"], "1 rows and 2 columns for 2 names"),
        ((100, 2), ["X:A"], "100 rows and 2 columns for 1 names"),
        ((100, 2), ["X:A", "X:A"], "columns to be clustered repeat"),
    ],
)
def test_a_matrix_that_cannot_be_clustered_is_refused(
    shape: tuple[int, int], names: list[str], told: str
) -> None:
    values = np.random.default_rng(1).standard_normal(shape) * 0.02
    with pytest.raises(ContractError, match=told) as caught:
        cluster_streams(values, names, ClusterSettings(), KAPPA)
    assert (caught.value.code, caught.value.exit_code) == ("CLUSTER_INPUT", 3)
