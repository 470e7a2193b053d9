"""Hierarchical risk parity (López de Prado 2016), with bounds inside the recursion.

Distance → linkage → leaf order → recursive bisection at ⌊n/2⌋: a branch's risk v is the variance of its
inverse-variance portfolio and α_left = 1 − v_L/(v_L + v_R), clipped to the interval in which both sides
can still be filled,

    max(l_L/W, 1 − u_R/W) ≤ α ≤ min(u_L/W, 1 − l_R/W),

with subtree sums of l and u and node weight W. Rows that are violated afterwards are met by projection.

All nodes of one depth are handled at once. Their variances come from the leaves upwards: with a = 1/σ²
and leaves in order, the row sums R_g = Σ_{i∈g} a_i Σ_i· of a segment g are those of its two parts added,
and v_g = Σ_{j∈g} R_gj a_j / (Σ_{j∈g} a_j)². Only sums occur, so nothing cancels; 2 N² additions in all.
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


class Depth(NamedTuple):
    """The segments of the ordered leaves at one depth of the bisection.

    edges : ndarray (S + 1,), segment k holds leaves edges[k] to edges[k + 1] − 1
    first : ndarray (S,), number of a segment's first part among those of the next depth
    split : numbers of the segments of two leaves or more, which have a second part
    """

    edges: Index
    first: Index
    split: Index


def hrp(problem: Problem, options: HrpSettings | None = None) -> Result:
    """Hierarchical risk parity of `problem`; rows are honoured, a beta row is not its business.

    `options` : distance, linkage, leaf order and split risk; they change the answer and stand in `notes`.

    With a diagonal Σ, no active bound and `split_risk: variance` the weights are inverse variances for
    any tree. Statuses: OPTIMAL (sum, bounds, rows and splits verified), INFEASIBLE with certificate,
    SOLVER_FAILED where the projection did not converge. O(N²) with the default options.
    """
    options = options or HrpSettings()
    if problem.size == 1:
        return finished(problem, np.ones(1), {"leaf_order": list(problem.names)})
    tree = grow(squared_distances(problem.cov, options), options)
    weights, residual = bisect(problem, np.array(tree.order), stdev=options.split_risk == "stdev")
    notes = {
        "leaf_order": [problem.names[i] for i in tree.order],
        "linkage": tree.linkage.tolist(),
        "options": options.model_dump(),
    }
    return finished(problem, weights, notes, splits=problem.size - 1, residual=residual)


def bisect(problem: Problem, order: Index, *, stdev: bool = False) -> tuple[Array, float]:
    """Recursive bisection of the leaves in `order`, shape (N,): weights (N,) and the error of the splits."""
    depths = segments(len(order))
    risks = branch_variances(problem.cov, order, depths)
    if stdev:
        risks = [np.sqrt(risk) for risk in risks]
    floors, caps = problem.floors[order], problem.caps[order]
    bounded = bool((floors > 0.0).any() or (caps < 1.0).any())
    nodes = [np.ones(1)]
    for depth, finer, risk in zip(depths, depths[1:], risks[1:], strict=False):
        left, weight = depth.first[depth.split], nodes[-1][depth.split]
        share = _shares(risk[left], risk[left + 1])
        if bounded:
            low = np.add.reduceat(floors, finer.edges[:-1])
            high = np.add.reduceat(caps, finer.edges[:-1])
            share = _clipped(share, weight, low, high, left)
        parts = np.empty(len(finer.first))
        parts[depth.first] = nodes[-1]
        parts[left], parts[left + 1] = weight * share, weight * (1.0 - share)
        nodes.append(parts)
    weights = np.empty(len(order))
    weights[order] = nodes[-1]
    return weights, _split_error(nodes, depths)


def segments(count: int) -> list[Depth]:
    """All depths of the bisection of `count` leaves, from the whole list down to single leaves."""
    edges = [np.array([0, count])]
    while len(edges[-1]) <= count:
        halves = np.empty(2 * len(edges[-1]) - 1, dtype=np.intp)
        halves[::2] = edges[-1]
        halves[1::2] = (edges[-1][:-1] + edges[-1][1:]) // 2
        edges.append(halves[np.append(True, halves[1:] > halves[:-1])])
    depths = []
    for coarse, finer in zip(edges, [*edges[1:], edges[-1]], strict=True):
        depths.append(Depth(coarse, finer.searchsorted(coarse[:-1]), np.flatnonzero(np.diff(coarse) > 1)))
    return depths


def branch_variances(cov: Array, order: Index, depths: list[Depth]) -> list[Array]:
    """Variance of the inverse-variance portfolio of every segment, one array for each of `depths`."""
    variance = np.diag(cov)[order]
    inverse = 1.0 / variance
    variances = [variance]
    rows = np.empty((0, len(order)))
    for depth in depths[-2::-1]:
        first, second = depth.first, depth.first[depth.split] + 1
        if variances[1:]:
            halves, rows = rows, rows.take(first, axis=0)
            rows[depth.split] += halves.take(second, axis=0)
        else:
            rows = _weighted(cov, order[first], inverse[first])
            rows[depth.split] += _weighted(cov, order[second], inverse[second])
        starts = depth.edges[:-1]
        segment = np.repeat(np.arange(len(starts)), np.diff(depth.edges))
        own = np.add.reduceat(rows[segment, order] * inverse, starts)
        variances.append(np.maximum(own, 0.0) / np.add.reduceat(inverse, starts) ** 2)
    return variances[::-1]


def _weighted(cov: Array, atoms: Index, weights: Array) -> Array:
    rows = cov.take(atoms, axis=0)
    rows *= weights[:, None]
    return rows


def _shares(left: Array, right: Array) -> Array:
    """1 − left/(left + right); one half where neither side has any risk."""
    total = left + right
    return np.where(total > 0.0, 1.0 - left / np.where(total > 0.0, total, 1.0), 0.5)


def _clipped(share: Array, node: Array, low: Array, high: Array, left: Index) -> Array:
    """The shares inside the module's interval.

    A node between its sums of bounds has a non-empty one, but for rounding where bounds leave one point.
    """
    weight = np.where(node > 0.0, node, 1.0)
    least = np.maximum(low[left] / weight, 1.0 - high[left + 1] / weight)
    most = np.minimum(high[left] / weight, 1.0 - low[left + 1] / weight)
    inside = np.minimum(np.maximum(share, least), most)
    return np.where(node > 0.0, np.clip(inside, 0.0, 1.0), share)


def _split_error(nodes: list[Array], depths: list[Depth]) -> float:
    """Largest difference between a node's weight and the sum of its leaves' weights."""
    leaves = nodes[-1]
    sums = [np.add.reduceat(leaves, depth.edges[:-1]) for depth in depths]
    return max(float(np.abs(total - node).max()) for total, node in zip(sums, nodes, strict=True))
