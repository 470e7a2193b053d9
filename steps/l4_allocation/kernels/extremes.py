"""Both ends of the spectrum of a large correlation matrix, by Lanczos' method between two proofs.

λ₁ : Lanczos on C. With d² = ‖C‖²_F − θ², which the other eigenvalues share, no other one exceeds θ where
    d < θ, and λ₁ ≤ θ + ρ²/(θ − d) for the residual ρ of the Ritz value θ.
λ_N : the same space says about where it is. A Cholesky factorisation of C − σI proves σ < λ_N for a σ
    little below; Lanczos on (C − σI)⁻¹ then finds λ_N in few steps. Where the ridge depends on λ_N, a
    second factorisation, of C − (λ − δ)I, proves that nothing smaller was missed.

(Lanczos 1950; Ericsson & Ruhe 1980, The spectral transformation Lanczos method; Parlett 1998, The Symmetric
Eigenvalue Problem, 10 and 13.) The start is fixed and in no relation to the data, every vector is made
orthogonal twice to all before it. Whatever does not come out as it should ends with null, and the caller
reduces the matrix in full: no dominant factor, a spectrum that ends in a very small eigenvalue, a start
that sees only a part of the space.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Below so many names the full reduction costs less.
MANY = 480
# Steps between two looks at the Ritz values, and the most in either direction.
STRIDE, MOST = 12, 96
INVERSE_STRIDE, INVERSE_MOST = 3, 60
# σ = θ − margin: the margin is this share of the residual, or the last fall of θ, whichever is larger,
MARGIN = 0.6
# and σ is tried once the margin is so small beside θ; given up if it still exceeds θ after so many steps.
NEAR = 0.4
PATIENCE = 48
# Error of an eigenvalue that no longer matters, relative; what rounding may add to C, relative to λ₁.
EXACT = 1e-14
ROUNDING = 16.0 * float(np.finfo(np.float64).eps)
# A vector that is this short beside the one it came from leaves the space: nothing new is in it.
VANISHED = 1e-10


class Krylov:
    """The orthonormal basis of {v, Av, A²v, …} and the tridiagonal T that A is in it."""

    def __init__(self, product: Callable[[Array], Array], start: Array, most: int) -> None:
        self.product, self.steps = product, 0
        self.basis = np.empty((most + 1, start.size))
        self.basis[0] = start / np.linalg.norm(start)
        self.diagonal, self.beside = np.empty(most), np.empty(most)

    def extend(self, steps: int) -> bool:
        """`steps` more vectors; false where the space is closed."""
        for _ in range(steps):
            k = self.steps
            basis, vector = self.basis[: k + 1], self.product(self.basis[k])
            first = basis @ vector
            vector -= first @ basis
            again = basis @ vector
            vector -= again @ basis
            length = float(np.linalg.norm(vector))
            if not length > VANISHED * float(np.abs(first).max()):
                return False
            self.diagonal[k], self.beside[k] = first[k] + again[k], length
            self.basis[k + 1] = vector / length
            self.steps += 1
        return True

    def ritz(self, first: int, last: int) -> tuple[Array, Array]:
        """Ritz values number `first` to `last`, ascending from 1, and their residuals."""
        from scipy.linalg import lapack

        size = self.steps
        diagonal, beside = self.diagonal[:size], self.beside[: size - 1]
        _, values, blocks, splits, _ = lapack.dstebz(diagonal, beside, 2, 0.0, 0.0, first, last, 0.0, "B")
        values = values[: last - first + 1]
        vectors, _ = lapack.dstein(diagonal, beside, values, blocks, splits)
        return values, self.beside[size - 1] * np.abs(vectors[-1])


def proven_ends(corr: Array, kappa_limit: float) -> tuple[float, float] | None:
    """λ_N and λ₁ of `corr`, shape (N, N), symmetric with N ≥ 24, or null where the proof does not come out.

    λ_N is proven to be the smallest to within `ROUNDING` λ₁ unless λ₁/σ < `kappa_limit` is already; then
    to within λ_N − σ, and an eigenvalue to within `EXACT`. About 50 products with C, one or two
    factorisations, 12 solutions with the first.
    """
    columns = np.asfortranarray(corr.T)
    start = np.random.default_rng(0).standard_normal(len(columns))
    found = _upper_end(columns, start)
    if found is None:
        return None
    largest, shift = found
    factor = _factor(columns, shift)
    least = None if factor is None else _lower_end(factor, start, shift)
    if least is None:
        return None
    if largest < kappa_limit * shift or _factor(columns, least - ROUNDING * largest) is not None:
        return least, largest
    return None


def _upper_end(columns: Array, start: Array) -> tuple[float, float] | None:
    """λ₁, and a σ > 0 that should lie little below λ_N."""
    from scipy.linalg import blas

    space = Krylov(lambda vector: blas.dsymv(1.0, columns, vector, lower=1), start, MOST)
    flat = columns.T.reshape(-1)
    square, before = float(flat @ flat), np.inf
    while space.steps < MOST and space.extend(STRIDE):
        (top,), (top_residual,) = space.ritz(space.steps, space.steps)
        others = max(square - float(top) ** 2, 0.0) ** 0.5
        if not others < top:
            return None
        (bottom,), (residual,) = space.ritz(1, 1)
        margin = max(MARGIN * float(residual), before - float(bottom))
        before = float(bottom)
        known = float(top_residual) ** 2 <= EXACT * float(top) * (float(top) - others)
        if known and margin <= NEAR * before:
            return float(top), before - margin
        if space.steps >= PATIENCE and margin > before:
            return None
    return None


def _lower_end(factor: Array, start: Array, shift: float) -> float | None:
    """σ + 1/μ for the largest eigenvalue μ of (C − σI)⁻¹, from the Cholesky factor of C − σI."""
    from scipy.linalg import blas

    def solve(vector: Array) -> Array:
        half = blas.dtrsv(factor, vector, lower=1)
        return np.asarray(blas.dtrsv(factor, half, lower=1, trans=1, overwrite_x=1))

    space = Krylov(solve, start, INVERSE_MOST)
    while space.steps < INVERSE_MOST and space.extend(INVERSE_STRIDE):
        (second, first), (_, residual) = space.ritz(space.steps - 1, space.steps)
        error = residual * min(1.0, residual / (first - second)) if first > second else residual
        least = shift + 1.0 / float(first)
        if error <= EXACT * least * float(first) ** 2:
            return least
    return None


def _factor(columns: Array, shift: float) -> Array | None:
    """The lower Cholesky factor of C − σI, or null where it has none."""
    from scipy.linalg import lapack

    shifted = columns.copy(order="F")
    shifted.T.reshape(-1)[:: len(columns) + 1] -= shift
    factor, failed = lapack.dpotrf(shifted, lower=1, clean=0, overwrite_a=1)
    return None if failed else factor
