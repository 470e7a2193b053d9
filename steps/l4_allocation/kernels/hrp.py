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

from functools import lru_cache
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

    starts : ndarray (S,), segment k holds the leaves from starts[k] to that of the next
    first : ndarray (S,), number of a segment's first part among those of the next depth
    split : numbers of the segments of two leaves or more, which have a second part
    left : first[split];  owner : ndarray (N,), segment of each leaf
    """

    starts: Index
    first: Index
    split: Index
    left: Index
    owner: Index


class Halving(NamedTuple):
    """All depths of a bisection, from the whole list down to single leaves; it depends on N alone.

    starts : the starts of all depths, as if their leaves stood one after the other
    ends : where the segments of each depth end among all
    """

    depths: tuple[Depth, ...]
    starts: Index
    ends: tuple[int, ...]

    def sums(self, leaves: Array) -> list[Array]:
        """Sums of `leaves`, shape (N,) in order, over the segments of every depth."""
        sums = np.add.reduceat(np.concatenate([leaves] * len(self.depths)), self.starts)
        return [sums[low:high] for low, high in zip((0, *self.ends), self.ends, strict=False)]


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
    halving = halved(len(order))
    risks = branch_variances(problem.cov, order, halving)
    if stdev:
        risks = [np.sqrt(risk) for risk in risks]
    floors, caps = problem.floors[order], problem.caps[order]
    bounded = bool((floors > 0.0).any() or (caps < 1.0).any())
    lows, highs = (halving.sums(floors), halving.sums(caps)) if bounded else ([], [])
    nodes = [np.ones(1)]
    for level, (depth, risk) in enumerate(zip(halving.depths, risks[1:], strict=False), 1):
        left, weight = depth.left, nodes[-1][depth.split]
        share = _shares(risk[left], risk[left + 1])
        if bounded:
            share = _clipped(share, weight, lows[level], highs[level], left)
        parts = np.empty(len(risk))
        parts[depth.first] = nodes[-1]
        parts[left], parts[left + 1] = weight * share, weight * (1.0 - share)
        nodes.append(parts)
    weights = np.empty(len(order))
    weights[order] = nodes[-1]
    error = np.concatenate(halving.sums(nodes[-1])) - np.concatenate(nodes)
    return weights, float(np.abs(error).max())


@lru_cache(maxsize=16)
def halved(count: int) -> Halving:
    """The bisection of `count` leaves."""
    edges = [np.array([0, count])]
    while len(edges[-1]) <= count:
        halves = np.empty(2 * len(edges[-1]) - 1, dtype=np.intp)
        halves[::2] = edges[-1]
        halves[1::2] = (edges[-1][:-1] + edges[-1][1:]) // 2
        edges.append(halves[np.append(True, halves[1:] > halves[:-1])])
    depths = []
    for coarse, finer in zip(edges, [*edges[1:], edges[-1]], strict=True):
        first, sizes = finer.searchsorted(coarse[:-1]), np.diff(coarse)
        split, owner = np.flatnonzero(sizes > 1), np.repeat(np.arange(len(sizes)), sizes)
        depths.append(Depth(coarse[:-1], first, split, first[split], owner))
    starts = np.concatenate([level * count + depth.starts for level, depth in enumerate(depths)])
    ends = np.cumsum([len(depth.starts) for depth in depths]).tolist()
    return Halving(tuple(depths), starts, tuple(ends))


def branch_variances(cov: Array, order: Index, halving: Halving) -> list[Array]:
    """Variance of the inverse-variance portfolio of every segment, one array for each depth."""
    variance = cov.diagonal()[order]
    inverse = 1.0 / variance
    totals = halving.sums(inverse)
    variances = [variance]
    rows = np.empty((0, len(order)))
    for depth, total in zip(halving.depths[-2::-1], totals[-2::-1], strict=True):
        first, second = depth.first, depth.left + 1
        if variances[1:]:
            halves, rows = rows, rows.take(first, axis=0)
            rows[depth.split] += halves.take(second, axis=0)
        else:
            rows = _weighted(cov, order[first], inverse[first])
            rows[depth.split] += _weighted(cov, order[second], inverse[second])
        own = np.add.reduceat(rows[depth.owner, order] * inverse, depth.starts)
        variances.append(np.maximum(own, 0.0) / total**2)
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
