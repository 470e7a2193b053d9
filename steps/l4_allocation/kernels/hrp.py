"""Hierarchical risk parity (López de Prado 2016), with bounds inside the recursion.

Distance → linkage → leaf order → recursive bisection at ⌊n/2⌋: a branch's risk v is the variance of its
inverse-variance portfolio and α_left = 1 − v_L/(v_L + v_R), clipped to the interval in which both sides
can still be filled,

    max(l_L/W, 1 − u_R/W) ≤ α ≤ min(u_L/W, 1 − l_R/W),

with subtree sums of l and u and node weight W. Rows that are violated afterwards are met by projection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import SolverFailed
from quantctl.contracts.settings.allocation import HrpSettings
from quantctl.steps.l2_selection.ward import Merge, ward_linkage
from quantctl.steps.l4_allocation.kernels.certificate import explain_infeasibility
from quantctl.steps.l4_allocation.kernels.kkt import active_names, primal_violation
from quantctl.steps.l4_allocation.kernels.problem import Attempt, Kkt, Problem, Result
from quantctl.steps.l4_allocation.kernels.projection import project_capped

Array = NDArray[np.float64]

FEASIBLE = 1e-9


class Split(NamedTuple):
    """One bisection: leaves on either side (positions), node weight and share of the left side."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    weight: float
    share: float


def hrp(problem: Problem, options: HrpSettings | None = None) -> Result:
    """Hierarchical risk parity of `problem`; rows are honoured, a beta row is not its business.

    `options` : distance, linkage, leaf order and split risk; they change the answer and stand in `notes`.

    With a diagonal Σ, no active bound and `split_risk: variance` the weights are inverse variances for
    any tree. Statuses: OPTIMAL (sum, bounds, rows and splits verified), INFEASIBLE with certificate,
    SOLVER_FAILED where the projection did not converge. O(N² log N).
    """
    options = options or HrpSettings()
    if problem.size == 1:
        return _finished(problem, np.ones(1), [], {"leaf_order": list(problem.names)})
    linkage, order = tree(problem.cov, options)
    weights, splits = bisect(problem, order, stdev=options.split_risk == "stdev")
    notes = {
        "leaf_order": [problem.names[i] for i in order],
        "linkage": [[float(v) for v in row] for row in linkage],
        "options": options.model_dump(),
    }
    return _finished(problem, weights, splits, notes)


def tree(cov: Array, options: HrpSettings) -> tuple[Array, list[int]]:
    """Linkage matrix of shape (N − 1, 4) and the order of the leaves.

    Ward with dendrogram order, the default, is our own kernel with its fixed tie rule; the other
    linkages and the optimal order are SciPy's.
    """
    square = distances(cov, euclidean=options.distance == "euclidean")
    if options.linkage == "ward" and options.leaf_order == "dendrogram":
        merges = ward_linkage(square)
        return np.array(merges, dtype=np.float64), leaves(merges, len(square))
    from scipy.cluster.hierarchy import leaves_list, linkage

    condensed = square[np.triu_indices(len(square), 1)]
    merged = linkage(condensed, method=options.linkage, optimal_ordering=options.leaf_order == "optimal")
    return np.asarray(merged, dtype=np.float64), [int(i) for i in leaves_list(merged)]


def leaves(merges: Sequence[Merge], count: int) -> list[int]:
    """Leaves of a linkage from left to right."""
    order, stack = [], [count + len(merges) - 1]
    while stack:
        node = stack.pop()
        if node < count:
            order.append(node)
        else:
            merge = merges[node - count]
            stack += [merge.right, merge.left]
    return order


def distances(cov: Array, *, euclidean: bool) -> Array:
    """Distances d = √(½(1 − ρ)) of shape (N, N), or the Euclidean distances between the columns of d."""
    vol = np.sqrt(np.diag(cov))
    distance = np.sqrt(np.clip((1.0 - cov / np.outer(vol, vol)) / 2.0, 0.0, 1.0))
    np.fill_diagonal(distance, 0.0)
    if euclidean:
        square = np.sum(distance * distance, axis=0)
        gram = square[:, None] + square[None, :] - 2.0 * distance.T @ distance
        distance = np.sqrt(np.maximum(gram, 0.0))
        np.fill_diagonal(distance, 0.0)
    return np.asarray((distance + distance.T) / 2.0, dtype=np.float64)


def bisect(problem: Problem, order: list[int], *, stdev: bool = False) -> tuple[Array, list[Split]]:
    """Recursive bisection of `order`: weights (N,) summing to 1, and every split."""
    weights = np.zeros(problem.size)
    splits: list[Split] = []
    stack = [(tuple(order), 1.0)]
    while stack:
        leaves, weight = stack.pop()
        if len(leaves) == 1:
            weights[leaves[0]] = weight
            continue
        left, right = leaves[: len(leaves) // 2], leaves[len(leaves) // 2 :]
        share = _share(problem, left, right, weight, stdev=stdev)
        splits.append(Split(left, right, weight, share))
        stack.extend(((right, weight * (1.0 - share)), (left, weight * share)))
    return weights, splits


def branch_variance(cov: Array, leaves: tuple[int, ...]) -> float:
    """Variance of the inverse-variance portfolio of `leaves`."""
    part = cov[np.ix_(leaves, leaves)]
    inverse = 1.0 / np.diag(part)
    inverse /= inverse.sum()
    return float(inverse @ part @ inverse)


def _share(
    problem: Problem, left: tuple[int, ...], right: tuple[int, ...], weight: float, *, stdev: bool
) -> float:
    risk_left, risk_right = branch_variance(problem.cov, left), branch_variance(problem.cov, right)
    if stdev:
        risk_left, risk_right = math.sqrt(risk_left), math.sqrt(risk_right)
    share = 1.0 - risk_left / (risk_left + risk_right)
    if weight <= 0.0:
        return share
    low_l, high_l = _sums(problem, left)
    low_r, high_r = _sums(problem, right)
    least = max(low_l / weight, 1.0 - high_r / weight)
    most = min(high_l / weight, 1.0 - low_r / weight)
    return min(max(share, least), most) if least <= most else share


def _sums(problem: Problem, leaves: tuple[int, ...]) -> tuple[float, float]:
    index = list(leaves)
    return float(problem.floors[index].sum()), float(problem.caps[index].sum())


def _finished(problem: Problem, weights: Array, splits: list[Split], notes: dict[str, object]) -> Result:
    """Project on violated rows, verify, and report."""
    attempts = [Attempt("hierarchical", "OPTIMAL", None, len(splits))]
    warnings: tuple[str, ...] = ()
    if primal_violation(problem, weights) > FEASIBLE:
        try:
            projected = project_capped(weights, problem)
        except SolverFailed as failure:
            attempts.append(Attempt("projection", "SOLVER_FAILED", failure.code))
            return Result(None, "SOLVER_FAILED", attempts=tuple(attempts))
        if projected is None:
            certificate = explain_infeasibility(problem)
            assert certificate is not None
            attempts.append(Attempt("projection", "INFEASIBLE", certificate["code"]))
            return Result(None, "INFEASIBLE", attempts=tuple(attempts), certificate=certificate)
        notes["projection_l1"] = float(np.abs(projected - weights).sum())
        weights, warnings = projected, ("HRP_PROJECTED",)
        attempts.append(Attempt("projection", "OPTIMAL"))
    variance = float(weights @ problem.cov @ weights)
    kkt = Kkt(primal_violation(problem, weights), 0.0, 0.0, 0.0, "OPTIMAL")
    return Result(
        weights, "OPTIMAL", variance, variance, kkt, active=active_names(problem, weights),
        attempts=tuple(attempts), warnings=warnings, notes=notes,
    )  # fmt: skip
