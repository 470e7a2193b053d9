"""How good an answer is, computed from the case alone: objective, violation, error of the promise.

Nothing here knows who gave the answer. `objective` is to be small; `error` is what a profile promises
beyond an objective: equal risk shares, splits of a tree, an estimator's own formula.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from allocation_data import Array, Case
from peers import CVAR_LEVEL, MVO_AVERSION, MVO_RIDGE, MVO_TURNOVER

VIOLATION = 1e-10
ERROR = 1e-8
GAP = 1e-8
GAP_CVAR = 1e-7
AT_CAP = 1e-9
NO_ANSWER = 1e9


class Grade(NamedTuple):
    """objective : small is good, null where the profile has none;  violation, error : 0 is perfect."""

    objective: float | None
    violation: float
    error: float = 0.0


def violation(case: Case, weights: Array) -> float:
    """Largest violation of budget, bounds and rows; `NO_ANSWER` for weights that are not finite."""
    if weights.shape != (case.size,) or not np.isfinite(weights).all():
        return NO_ANSWER
    matrix, limit = case.rows
    return max(
        0.0, abs(float(weights.sum()) - 1.0), -float(weights.min()), float(weights.max()) - case.cap,
        float((matrix @ weights - limit).max()),
    )  # fmt: skip


def min_variance(case: Case, weights: Array) -> Grade:
    """w'Σw."""
    return Grade(float(weights @ case.cov @ weights), violation(case, weights))


def max_sharpe(case: Case, weights: Array) -> Grade:
    """−μ'w/√(w'Σw)."""
    value = -float(case.mu @ weights) / float(weights @ case.cov @ weights) ** 0.5
    return Grade(value, violation(case, weights))


def max_diversification(case: Case, weights: Array) -> Grade:
    """−s'w/√(w'Σw)."""
    value = -float(case.vol @ weights) / float(weights @ case.cov @ weights) ** 0.5
    return Grade(value, violation(case, weights))


def mean_variance(case: Case, weights: Array) -> Grade:
    """½g w'Σw − μ'w + γm‖w‖² + c‖w − w_prev‖₁."""
    value = (
        0.5 * MVO_AVERSION * float(weights @ case.cov @ weights)
        - float(case.mu @ weights)
        + MVO_RIDGE * case.mean_variance * float(weights @ weights)
        + MVO_TURNOVER * float(np.abs(weights - case.previous).sum())
    )
    return Grade(value, violation(case, weights))


def min_cvar(case: Case, weights: Array) -> Grade:
    """min over a of a + Σ(−x'w − a)⁺/((1−q)T): piecewise linear in a, least at one of the losses."""
    losses = np.sort(-case.returns @ weights)[::-1]
    tail = (1.0 - CVAR_LEVEL) * losses.size
    whole = int(np.floor(tail + 1e-9))
    rest = tail - whole
    value = (float(losses[:whole].sum()) + rest * float(losses[min(whole, losses.size - 1)])) / tail
    return Grade(value, violation(case, weights))


def equal_risk(case: Case, weights: Array) -> Grade:
    """w_i(Σw)_i equal wherever no cap or row binds, and nowhere above that level."""
    matrix, limit = case.rows
    binding = matrix @ weights >= limit - AT_CAP
    bound = (weights >= case.cap - AT_CAP) | (matrix[binding] > 0).any(axis=0)
    shares = weights * (case.cov @ weights)
    if bound.all():
        return Grade(None, violation(case, weights))
    level = float(np.median(shares[~bound]))
    spread = float(np.abs(shares[~bound] / level - 1.0).max())
    above = float((shares / level - 1.0).max())
    return Grade(None, violation(case, weights), max(spread, above))


def simplex(weights: Array) -> float:
    """Violation of 1'w = 1, w ≥ 0: all that a hierarchical profile is held to here."""
    if not np.isfinite(weights).all():
        return NO_ANSWER
    return max(0.0, abs(float(weights.sum()) - 1.0), -float(weights.min()))


def bisected(cov: Array, order: list[int]) -> Array:
    """Recursive bisection as the 2016 paper writes it, level by level."""
    weights = np.ones(len(order))
    level = [list(order)]
    while level:
        below = []
        for leaves in level:
            if len(leaves) == 1:
                continue
            left, right = leaves[: len(leaves) // 2], leaves[len(leaves) // 2 :]
            share = 1.0 - _inverse_risk(cov, left) / (_inverse_risk(cov, left) + _inverse_risk(cov, right))
            weights[left] *= share
            weights[right] *= 1.0 - share
            below += [left, right]
        level = below
    return weights


def descended(cov: Array, linkage: Array, clusters: int) -> Array:
    """HERC from its tree: inverse variance inside each of the k clusters, shares of risk going down."""
    size = len(cov)
    leaves: dict[int, list[int]] = {i: [i] for i in range(size)}
    for step, row in enumerate(linkage):
        leaves[size + step] = leaves[int(row[0])] + leaves[int(row[1])]
    weights = np.zeros(size)
    first_upper = 2 * size - clusters

    def risk(node: int) -> float:
        if node < first_upper:
            return _inverse_risk(cov, leaves[node])
        row = linkage[node - size]
        return risk(int(row[0])) + risk(int(row[1]))

    def fill(node: int, weight: float) -> None:
        if node < first_upper:
            inverse = 1.0 / np.diag(cov)[leaves[node]]
            weights[leaves[node]] = weight * inverse / inverse.sum()
            return
        left, right = int(linkage[node - size][0]), int(linkage[node - size][1])
        share = 1.0 - risk(left) / (risk(left) + risk(right))
        fill(left, weight * share)
        fill(right, weight * (1.0 - share))

    fill(2 * size - 2, 1.0)
    return weights


def _inverse_risk(cov: Array, leaves: list[int]) -> float:
    """Variance of the inverse-variance portfolio of `leaves`."""
    part = cov[np.ix_(leaves, leaves)]
    inverse = 1.0 / np.diag(part)
    inverse /= inverse.sum()
    return float(inverse @ part @ inverse)


def relative(answer: Array, expected: Array) -> float:
    """Largest deviation beside the largest value."""
    return float(np.abs(answer - expected).max() / np.abs(expected).max())
