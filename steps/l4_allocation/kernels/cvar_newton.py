"""The linear system of one interior-point step for the expected shortfall.

    M Δx + E'η = r,   E Δx − diag(0, s/λ) η = b,   M = diag(Θ, 0) + H'DH,   Δx = (Δw, Δa),   η = (Δν, Δλ)

H = [X 1] holds the scenarios, E the budget and the rows G. M is positive definite. Where fewer names than
scenarios matter it is factorised (one symmetric product, one Cholesky of order N + 1). Where fewer scenarios
do, y = D H Δx is the unknown instead:

    (D⁻¹ + X Θ⁻¹ X') y − 1 Δa = X Θ⁻¹ r_w,   1'y = r_a,   Δw = Θ⁻¹(r_w − X'y)

The border E M⁻¹E' + diag(0, s/λ) is small; rows that the budget implies make it singular without harm.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Scenarios below this part of the largest D take no part in the product; their own Δp still follows Δx.
NEGLIGIBLE = 1e-10
# Added to a matrix, relative to its diagonal, where rounding makes it indefinite.
LIFT = 1e-13
# Stiffness above which the unknown stays Δx: digits lost are its logarithm.
STIFF = 1e10
# A residual above this part of the right side is refined, so often at most.
REFINED, REFINEMENTS = 1e-8, 2
# Eigenvalues of the border below this part of the largest belong to dependent rows.
DEPENDENT = 1e-13


class _Factor(Protocol):
    def solve(self, right: Array) -> Array:
        """M⁻¹ times a vector or the columns of a matrix."""
        ...


class NewtonSystem:
    """A factorised system; solutions are refined against its plain matrix where rounding spoilt them."""

    border: Array
    pliancy: Array
    spread: Array
    inverse: Array

    def __init__(self, factor: _Factor, hinges: Array, bend: Array, diagonal: Array) -> None:
        self.factor, self.hinges, self.bend, self.diagonal = factor, hinges, bend, diagonal

    def bordered(self, border: Array, pliancy: Array) -> NewtonSystem:
        """With E = `border` (R + 1, N + 1) and the diagonal (0, s/λ) = `pliancy`."""
        self.border, self.pliancy = border, pliancy
        self.spread = self.factor.solve(border.T)
        schur = border @ self.spread
        _diagonal(schur)[:] += pliancy
        self.inverse = _inverse(schur)
        return self

    def solve(self, right: Array, level: Array, *, refined: bool) -> tuple[Array, Array]:
        """(Δx, η) for r (N + 1,) and b (R + 1,)."""
        move, eta = self._once(right, level)
        worst = REFINED * float(np.abs(right).max())
        for _ in range(REFINEMENTS if refined else 0):
            left = right - (self.bend * (self.hinges @ move)) @ self.hinges - eta @ self.border
            left[:-1] -= self.diagonal * move[:-1]
            short = level - self.border @ move + self.pliancy * eta
            if max(float(np.abs(left).max()), float(np.abs(short).max())) <= worst:
                break
            more, extra = self._once(left, short)
            move, eta = move + more, eta + extra
        return move, eta

    def _once(self, right: Array, level: Array) -> tuple[Array, Array]:
        plain = self.factor.solve(right)
        eta = self.inverse @ (self.border @ plain - level)
        return plain - self.spread @ eta, eta


def _inverse(schur: Array) -> Array:
    """Of the border, scaled to a unit diagonal; a pseudo-inverse where rows depend on each other."""
    from scipy.linalg.lapack import dpotrf, dpotri

    unit = 1.0 / np.sqrt(np.maximum(_diagonal(schur), 1e-300))
    scaled = unit[:, None] * schur * unit
    factor, info = dpotrf(scaled, lower=1)
    if info == 0 and float(_diagonal(factor).min()) ** 2 > DEPENDENT:
        lower = dpotri(factor, lower=1)[0]
        inverse = lower + lower.T
        _diagonal(inverse)[:] *= 0.5
    else:
        values, basis = np.linalg.eigh(scaled)
        inverse = (basis / np.where(values > DEPENDENT * values[-1], values, np.inf)) @ basis.T
    return np.asarray(unit[:, None] * inverse * unit)


def factorised(hinges: Array, bend: Array, diagonal: Array) -> NewtonSystem | None:
    """M of H = `hinges` (T, N + 1), D = `bend` (T,), Θ = `diagonal` (N,); null if it is singular.

    O(min(T N² + N³/3, N T² + T³/3)).
    """
    kept = np.flatnonzero(bend > NEGLIGIBLE * float(bend.max()))
    count, size = len(kept), len(diagonal)
    if count == 0:
        return None
    part, weights = (hinges, bend) if count == len(bend) else (hinges[kept], bend[kept])
    fewer = size * count**2 + count**3 / 3 < count * size**2 + size**3 / 3
    by_hinges = fewer and _stiffness(part, weights, diagonal) <= STIFF
    factor = (_ByHinges if by_hinges else _ByNames).of(part, weights, diagonal)
    return None if factor is None else NewtonSystem(factor, part, weights, diagonal)


def _stiffness(hinges: Array, bend: Array, diagonal: Array) -> float:
    """max_t D_t x_t'Θ⁻¹x_t: what cancels when Δw is read from y."""
    return float((bend * np.square(hinges[:, :-1]).dot(1.0 / diagonal)).max())


class _ByNames:
    """Cholesky of M."""

    def __init__(self, factor: Array) -> None:
        self.factor = factor

    @classmethod
    def of(cls, hinges: Array, bend: Array, diagonal: Array) -> _ByNames | None:
        from scipy.linalg.blas import dsyrk

        weighted = hinges * np.sqrt(bend)[:, None]
        matrix = dsyrk(1.0, weighted.T, lower=1)
        _diagonal(matrix)[:-1] += diagonal
        factor = _cholesky(matrix)
        return None if factor is None else cls(factor)

    def solve(self, right: Array) -> Array:
        from scipy.linalg.lapack import dpotrs

        return np.asarray(dpotrs(self.factor, right, lower=1)[0])


class _ByHinges:
    """Cholesky of D⁻¹ + X Θ⁻¹ X', with a bordered."""

    def __init__(self, names: Array, inverse: Array, factor: Array) -> None:
        from scipy.linalg.lapack import dpotrs

        self.names, self.inverse, self.factor = names, inverse, factor
        self.ones = dpotrs(factor, np.ones(len(names)), lower=1)[0]
        self.pivot = float(self.ones.sum())

    @classmethod
    def of(cls, hinges: Array, bend: Array, diagonal: Array) -> _ByHinges | None:
        from scipy.linalg.blas import dsyrk

        names, inverse = hinges[:, :-1], 1.0 / diagonal
        matrix = dsyrk(1.0, (names * np.sqrt(inverse)).T, trans=1, lower=1)
        _diagonal(matrix)[:] += 1.0 / bend
        factor = _cholesky(matrix)
        return None if factor is None else cls(names, inverse, factor)

    def solve(self, right: Array) -> Array:
        from scipy.linalg.lapack import dpotrs

        columns = right.reshape(len(right), -1)
        moved = self.inverse[:, None] * columns[:-1]
        plain = dpotrs(self.factor, self.names @ moved, lower=1)[0]
        var = (columns[-1] - plain.sum(axis=0)) / self.pivot
        y = plain + self.ones[:, None] * var
        moved -= self.inverse[:, None] * (self.names.T @ y)
        return np.vstack([moved, var]).reshape(right.shape)


def _cholesky(matrix: Array) -> Array | None:
    """The lower factor; `matrix` (Fortran order, lower triangle) survives the first attempt only."""
    from scipy.linalg.lapack import dpotrf

    factor, info = dpotrf(matrix, lower=1, clean=0)
    if info != 0:
        _diagonal(matrix)[:] *= 1.0 + LIFT
        factor, info = dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
    return factor if info == 0 else None


def _diagonal(matrix: Array) -> Array:
    """A view."""
    view: Array = np.einsum("ii->i", matrix)
    return view
