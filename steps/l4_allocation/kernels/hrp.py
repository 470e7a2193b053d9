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
    split : numbers of the segments of two leaves or more;  left : first[split], left + 1 the second part
    row : ndarray (N,), N times the segment of each leaf;  parent : ndarray (S,), segment of the depth above
    """

    starts: Index
    first: Index
    split: Index
    left: Index
    row: Index
    parent: Index


class Halving(NamedTuple):
    """All depths of a bisection, from the whole list down to single leaves; it depends on N alone.

    starts : the starts of all depths, as if their leaves stood one after the other
    ends : where the segments of each depth end among all;  left : all first parts among them
    """

    depths: tuple[Depth, ...]
    starts: Index
    ends: tuple[int, ...]
    left: Index

    def sums(self, leaves: Array) -> Array:
        """Sums of `leaves`, shape (N,) in order, over the segments of all depths."""
        return np.add.reduceat(np.concatenate([leaves] * len(self.depths)), self.starts)

    def by_depth(self, values: Array) -> list[Array]:
        """Views of values over all segments, one for each depth."""
        return [values[low:high] for low, high in zip((0, *self.ends), self.ends, strict=False)]


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
        risks = np.sqrt(risks)
    share = _shares(risks[halving.left], risks[halving.left + 1])
    floors, caps = problem.floors[order], problem.caps[order]
    bounded = bool((floors > 0.0).any() or (caps < 1.0).any())
    lows, highs = (halving.by_depth(halving.sums(each)) if bounded else [] for each in (floors, caps))
    # What a segment keeps of the one that it is a part of.
    kept = np.ones(len(risks))
    kept[halving.left], kept[halving.left + 1] = share, 1.0 - share
    parts = halving.by_depth(kept)
    nodes = [np.ones(1)]
    for level, depth in enumerate(halving.depths[1:], 1):
        above, part = halving.depths[level - 1], parts[level]
        if bounded:
            left, weight = above.left, nodes[-1][above.split]
            part[left] = _clipped(part[left], weight, lows[level], highs[level], left)
            part[left + 1] = 1.0 - part[left]
        nodes.append(nodes[-1][depth.parent] * part)
    weights = np.empty(len(order))
    weights[order] = nodes[-1]
    return weights, float(np.abs(halving.sums(nodes[-1]) - np.concatenate(nodes)).max())


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
    for above, here, below in zip([edges[0], *edges], edges, [*edges[1:], edges[-1]], strict=False):
        starts, sizes = here[:-1], np.diff(here)
        first, split = below.searchsorted(starts), np.flatnonzero(sizes > 1)
        row = count * np.repeat(np.arange(len(sizes)), sizes)
        parent = above.searchsorted(starts, side="right") - 1
        depths.append(Depth(starts, first, split, first[split], row, parent))
    starts = np.concatenate([level * count + depth.starts for level, depth in enumerate(depths)])
    ends = np.cumsum([len(depth.starts) for depth in depths]).tolist()
    left = np.concatenate([end + depth.left for end, depth in zip(ends, depths, strict=True)])
    return Halving(tuple(depths), starts, tuple(ends), left)


def branch_variances(cov: Array, order: Index, halving: Halving) -> Array:
    """Variances of the inverse-variance portfolios of all segments."""
    variance = cov.diagonal()[order]
    inverse = 1.0 / variance
    own: list[Array] = []
    rows = np.empty((0, len(order)))
    for depth in halving.depths[-2::-1]:
        first, second = depth.first, depth.left + 1
        if own:
            halves, rows = rows, rows.take(first, axis=0)
            rows[depth.split] += halves.take(second, axis=0)
        else:
            rows = _weighted(cov, order[first], inverse[first])
            rows[depth.split] += _weighted(cov, order[second], inverse[second])
        own.append(np.add.reduceat(rows.reshape(-1).take(depth.row + order) * inverse, depth.starts))
    total = halving.sums(inverse) ** 2
    total[-len(order) :] = 1.0
    return np.asarray(np.maximum(np.concatenate([*own[::-1], variance]), 0.0) / total)


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
