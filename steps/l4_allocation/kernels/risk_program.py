"""Capped risk budgeting as one square system, and the linear equations that its solvers share.

    Σx − λ b/x + ν_u + G'ν = 0,   1'x = 1,   x ≤ u, G x ≤ h, ν ≥ 0, each ν zero where its cap is slack

(Richard & Roncalli 2019, Constrained risk budgeting portfolios). Caps are absolute in x: homogenising
them against 1'x would leak the multiplier of the scale into every name. Σ is in units of its mean
variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.problem import Mask, Problem

Array = NDArray[np.float64]

# Slack and violation below this are rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class RiskProgram:
    """Data over N names with R rows.

    cov : ndarray (N, N), tr Σ = N;  budgets : ndarray (N,), > 0, sum 1
    upper : ndarray (N,);  rows : ndarray (R, N), G;  limit : ndarray (R,), h
    """

    cov: Array
    budgets: Array
    upper: Array
    rows: Array
    limit: Array

    @property
    def size(self) -> int:
        """Number of names N."""
        return len(self.budgets)

    def fits(self, x: Array) -> bool:
        """Whether x is within its caps and rows."""
        inside = bool((x <= self.upper + ROUNDING).all())
        return inside and bool((self.rows @ x <= self.limit + ROUNDING).all())


class Sets(NamedTuple):
    """capped : mask (N,), names at u;  held : mask (R,), rows at h."""

    capped: Mask
    held: Mask


class RiskPoint(NamedTuple):
    """What a solver claims.

    x : ndarray (N,), sum 1;  barrier : λ;  caps : ndarray (N,), ν_u;  rows : ndarray (R,), ν
    """

    x: Array
    barrier: float
    caps: Array
    rows: Array


def risk_program(problem: Problem, budgets: Array) -> RiskProgram:
    """The program of a `problem` for `budgets` that sum to 1."""
    rows = problem.rows
    return RiskProgram(problem.cov / problem.mean_variance, budgets, problem.caps, rows.matrix, rows.limit)


def solve_bordered(
    matrix: Array, column: Array, rows: Array, slack: Array, right: Array, total: float, ends: Array
) -> tuple[Array, float, Array] | None:
    """v, p, ν of the Newton systems; null where they are singular.

        H v − c p + G'ν = right,    1'v = total,    G v − diag(slack) ν = ends

    H = `matrix` (n, n) positive definite (it is overwritten), c = `column` (n,), G = `rows` (r, n). One
    Cholesky of H, then a Schur complement of r + 1 unknowns: n³/3 + O(n² r).
    """
    from scipy.linalg.lapack import dgesv, dpotrf, dpotrs

    factor, broken = dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
    if broken:
        return None
    tests, sides = np.empty((len(rows) + 1, len(right))), np.empty((len(rows) + 2, len(right)))
    tests[0], tests[1:] = 1.0, rows
    sides[0], sides[1], sides[2:] = right, -column, rows
    solved = dpotrs(factor, sides.T, lower=1)[0].T
    border = tests @ solved.T
    border[0, 0] -= total
    border[1:, 0] -= ends
    border[1:, 2:].flat[:: len(rows) + 1] += slack
    unknown, broken = dgesv(border[:, 1:], border[:, 0])[2:]
    if broken or not np.isfinite(unknown).all():
        return None
    return solved[0] - unknown @ solved[1:], float(unknown[0]), unknown[1:]
