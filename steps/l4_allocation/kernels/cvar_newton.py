"""The linear system of one interior-point step for the expected shortfall.

    (Θ + H'DH) Δx + (1, 0)Δν = r,   1'Δw = b,   Δx = (Δw, Δa),   H = [A e]

Θ is diagonal on the names and 0 on a. Where more hinges than names matter, the matrix of order N + 1 is
factorised (one symmetric product, one Cholesky). Where fewer do, y = D H Δx is the unknown instead:

    (D⁻¹ + A Θ⁻¹ A') y − e Δa + A Θ⁻¹ 1 Δν = A Θ⁻¹ r_w,   e'y = r_a,   Δw = Θ⁻¹(r_w − A'y − 1Δν)
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Hinges below this part of the largest D take no part in the product; their own Δp still follows Δx.
NEGLIGIBLE = 1e-10
# Added to a matrix, relative to its diagonal, where rounding makes it indefinite.
LIFT = 1e-13
# Stiffness above which the unknown stays Δx: digits lost are its logarithm.
STIFF = 1e7
# A residual above this part of the right side is refined, so often at most.
REFINED, REFINEMENTS = 1e-8, 2


class _Factor(Protocol):
    def solve(self, right: Array, budget: float) -> tuple[Array, float]: ...


class NewtonSystem:
    """A factorised system; solutions are refined against its plain matrix where rounding spoilt them."""

    def __init__(self, factor: _Factor, hinges: Array, bend: Array, diagonal: Array) -> None:
        self.factor, self.hinges, self.bend, self.diagonal = factor, hinges, bend, diagonal

    def solve(self, right: Array, budget: float) -> tuple[Array, float]:
        """(Δx, Δν) for r (N + 1,) and b."""
        move, nu = self.factor.solve(right, budget)
        worst = REFINED * float(np.abs(right).max())
        for _ in range(REFINEMENTS):
            left = right - (self.bend * (self.hinges @ move)) @ self.hinges
            left[:-1] -= self.diagonal * move[:-1] + nu
            short = budget - float(move[:-1].sum())
            if max(float(np.abs(left).max()), abs(short)) <= worst:
                break
            more, extra = self.factor.solve(left, short)
            move, nu = move + more, nu + extra
        return move, nu


def factorised(hinges: Array, bend: Array, diagonal: Array) -> NewtonSystem | None:
    """The system of H = `hinges` (M, N + 1), D = `bend` (M,), Θ = `diagonal` (N,); null if it is singular.

    O(min(M N² + N³/3, N M² + M³/3)).
    """
    kept = np.flatnonzero(bend > NEGLIGIBLE * float(bend.max()))
    count, size = len(kept), len(diagonal)
    part, weights = (hinges, bend) if count == len(bend) else (hinges[kept], bend[kept])
    fewer = size * count**2 + count**3 / 3 < count * size**2 + size**3 / 3
    by_hinges = fewer and _stiffness(part, weights, diagonal) <= STIFF
    factor = (_ByHinges if by_hinges else _ByNames).of(part, weights, diagonal)
    return None if factor is None else NewtonSystem(factor, part, weights, diagonal)


def _stiffness(hinges: Array, bend: Array, diagonal: Array) -> float:
    """max_t D_t a_t'Θ⁻¹a_t: what cancels when Δw is read from y."""
    return float((bend * np.square(hinges[:, :-1]).dot(1.0 / diagonal)).max())


class _ByNames:
    """Cholesky of order N + 1, the budget bordered."""

    def __init__(self, factor: Array, border: Array) -> None:
        self.factor, self.border, self.pivot = factor, border, float(border[:-1].sum())

    @classmethod
    def of(cls, hinges: Array, bend: Array, diagonal: Array) -> _ByNames | None:
        from scipy.linalg.blas import dsyrk
        from scipy.linalg.lapack import dpotrs

        weighted = hinges * np.sqrt(bend)[:, None]
        matrix = dsyrk(1.0, weighted.T, lower=1)
        matrix.ravel("K")[: -1 : len(matrix) + 1] += diagonal
        factor = _cholesky(matrix)
        if factor is None:
            return None
        border = np.ones(len(matrix))
        border[-1] = 0.0
        return cls(factor, dpotrs(factor, border, lower=1)[0])

    def solve(self, right: Array, budget: float) -> tuple[Array, float]:
        from scipy.linalg.lapack import dpotrs

        plain = dpotrs(self.factor, right, lower=1)[0]
        nu = (float(plain[:-1].sum()) - budget) / self.pivot
        return plain - nu * self.border, nu


class _ByHinges:
    """Cholesky of order M over the hinges, a and the budget bordered."""

    def __init__(self, names: Array, ones: Array, inverse: Array, factor: Array) -> None:
        from scipy.linalg.lapack import dpotrs

        self.names, self.ones, self.inverse, self.factor = names, ones, inverse, factor
        self.sums = names @ inverse
        self.var = dpotrs(factor, ones, lower=1)[0]
        self.budget = dpotrs(factor, self.sums, lower=1)[0]
        cross = float(self.sums @ self.var)
        self.border = np.array([
            [float(ones @ self.var), -cross],
            [-cross, float(self.sums @ self.budget) - float(inverse.sum())],
        ])  # fmt: skip

    @classmethod
    def of(cls, hinges: Array, bend: Array, diagonal: Array) -> _ByHinges | None:
        from scipy.linalg.blas import dsyrk

        names, inverse = hinges[:, :-1], 1.0 / diagonal
        matrix = dsyrk(1.0, (names * np.sqrt(inverse)).T, trans=1, lower=1)
        matrix.ravel("K")[:: len(matrix) + 1] += 1.0 / bend
        factor = _cholesky(matrix)
        return None if factor is None else cls(names, hinges[:, -1].copy(), inverse, factor)

    def solve(self, right: Array, budget: float) -> tuple[Array, float]:
        from scipy.linalg.lapack import dpotrs

        moved = self.inverse * right[:-1]
        plain = dpotrs(self.factor, self.names @ moved, lower=1)[0]
        short = [
            float(right[-1]) - float(self.ones @ plain),
            budget - float(moved.sum()) + float(self.sums @ plain),
        ]
        var, nu = np.linalg.solve(self.border, short)
        y = plain + var * self.var - nu * self.budget
        return np.append(moved - self.inverse * (y @ self.names + nu), var), float(nu)


def _cholesky(matrix: Array) -> Array | None:
    """The lower factor; `matrix` (Fortran order, lower triangle) survives the first attempt only."""
    from scipy.linalg.lapack import dpotrf

    factor, info = dpotrf(matrix, lower=1, clean=0)
    if info != 0:
        matrix.ravel("K")[:: len(matrix) + 1] *= 1.0 + LIFT
        factor, info = dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
    return factor if info == 0 else None
