"""Hierarchical equal risk contribution: clusters by a gap rule, inverse variance inside, the tree above.

The tree is that of `hrp`. With W_k the sum over the k clusters of the mean pairwise distance of their
members (0 for one member), the number of clusters is where W bends most,

    k* = 1 + argmax_{1 ≤ k ≤ K−2} (W_{k+2} − 2 W_{k+1} + W_k),   K = min(N, max(8, round √N)),

the smallest on ties, and k* = N for N ≤ 3 (Yue, Wang & Wei 2008, the two-order difference to a gap
statistic; Raffinot 2018, The Hierarchical Equal Risk Contribution Portfolio, who takes the statistic
itself). Atoms weigh inversely to their variance inside a cluster, of variance v_c; going down the tree to
the clusters a node gives α_left = 1 − R_L/(R_L + R_R) to its left side, R the sum of v_c below.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.settings.allocation import HrpSettings
from quantctl.steps.l4_allocation.kernels.dendrogram import grow, squared_distances
from quantctl.steps.l4_allocation.kernels.hierarchical import finished
from quantctl.steps.l4_allocation.kernels.problem import Problem, Result

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Bends of W that differ by less, relative to the largest W, are a tie.
TIE = 1e-12


class Partition(NamedTuple):
    """The first clusters of a tree met from its top.

    nodes : numbers of their nodes in the linkage, ascending
    labels : ndarray (N,), position in `nodes` of each leaf's cluster
    """

    nodes: list[int]
    labels: Index


def herc(problem: Problem, options: HrpSettings | None = None) -> Result:
    """Hierarchical equal risk contribution of `problem`; bounds and rows are met by projection.

    `options` : distance, linkage and leaf order of the tree, and `split_risk`, which this profile does
    not read. `notes` : leaf order, linkage, k, options.

    Statuses as for `hrp`. O(N²) with the default options.
    """
    options = options or HrpSettings()
    if problem.size == 1:
        return finished(problem, np.ones(1), {"leaf_order": list(problem.names), "k": 1})
    squared = squared_distances(problem.cov, options)
    distance = np.sqrt(squared)
    tree = grow(squared, options)
    count = cluster_count(distance, tree.linkage)
    partition = top_clusters(tree.linkage, count)
    inside, variances = inverse_variance(problem.cov, partition)
    shares = descend(tree.linkage, partition.nodes, variances)
    weights = inside * shares[partition.labels]
    residual = np.bincount(partition.labels, weights, count) - shares
    notes = {
        "leaf_order": [problem.names[i] for i in tree.order],
        "linkage": tree.linkage.tolist(),
        "k": count,
        "options": options.model_dump(),
    }
    return finished(problem, weights, notes, splits=count - 1, residual=float(np.abs(residual).max()))


def cluster_count(distance: Array, linkage: Array) -> int:
    """k* of the module's rule, from the distances of N leaves and their linkage."""
    count = len(distance)
    if count <= 3:
        return count
    spread = spreads(distance, linkage, min(count, max(8, round(count**0.5))))
    bend = spread[2:] - 2.0 * spread[1:-1] + spread[:-2]
    return 2 + int(np.argmax(bend >= bend.max() - TIE * spread.max()))


def spreads(distance: Array, linkage: Array, most: int) -> Array:
    """W_1 to W_most, shape (most,). One product with the members of the `most` clusters, then O(most²)."""
    count = len(distance)
    partition = top_clusters(linkage, most)
    member = np.zeros((most, count))
    member[partition.labels, np.arange(count)] = 1.0
    sums, sizes = (member @ distance @ member.T).tolist(), member.sum(axis=1).tolist()
    means = [_mean_of_pairs(sums[c][c], sizes[c]) for c in range(most)]
    place = {node: c for c, node in enumerate(partition.nodes)}
    spread = [sum(means)]
    for merge, (left, right) in enumerate(linkage[count - most :, :2].tolist(), 2 * count - most):
        a, b = place[left], place[right]
        sums[a] = [x + y for x, y in zip(sums[a], sums[b], strict=True)]
        for row in sums:
            row[a] += row[b]
        sizes[a] += sizes[b]
        means[a], means[b] = _mean_of_pairs(sums[a][a], sizes[a]), 0.0
        place[merge] = a
        spread.append(sum(means))
    return np.array(spread[::-1], dtype=np.float64)


def _mean_of_pairs(twice: float, size: float) -> float:
    """Mean over the pairs of `size` members, from the sum over ordered pairs."""
    return twice / (size * (size - 1.0)) if size > 1.0 else 0.0


def top_clusters(linkage: Array, clusters: int) -> Partition:
    """The clusters that are left when the last `clusters` − 1 merges are undone."""
    count = len(linkage) + 1
    pairs = linkage[:, :2].astype(np.intp).tolist()
    lower = count - clusters
    kept = count + lower
    nodes = sorted(node for pair in pairs[lower:] for node in pair if node < kept) or [kept - 1]
    place = [0] * kept
    for position, node in enumerate(nodes):
        place[node] = position
    for merge in range(lower - 1, -1, -1):
        left, right = pairs[merge]
        place[left] = place[right] = place[count + merge]
    return Partition(nodes, np.array(place[:count]))


def inverse_variance(cov: Array, partition: Partition) -> tuple[Array, Array]:
    """Weights (N,) that sum to 1 in every cluster, and the variances (k,) of the clusters."""
    inverse = 1.0 / cov.diagonal()
    inside = inverse / np.bincount(partition.labels, inverse)[partition.labels]
    held = np.zeros((len(partition.nodes), len(cov)))
    held[partition.labels, np.arange(len(cov))] = inside
    return inside, np.maximum(np.einsum("kn,kn->k", held @ cov, held), 0.0)


def descend(linkage: Array, nodes: list[int], variances: Array) -> Array:
    """Weight of each cluster in `nodes`, shape (k,), from its variance and the tree above."""
    count = len(linkage) + 1
    upper = range(count - len(nodes), len(linkage))
    risk = dict(zip(nodes, variances.tolist(), strict=True))
    for merge in upper:
        left, right = (int(node) for node in linkage[merge, :2])
        risk[count + merge] = risk[left] + risk[right]
    weight = {2 * count - 2: 1.0}
    for merge in reversed(upper):
        left, right = (int(node) for node in linkage[merge, :2])
        total = risk[left] + risk[right]
        share = 1.0 - risk[left] / total if total > 0.0 else 0.5
        weight[left], weight[right] = weight[count + merge] * share, weight[count + merge] * (1.0 - share)
    return np.array([weight[node] for node in nodes])
