"""Conditioning of a correlation matrix: the smallest ridge that bounds its condition number.

    C(a) = (1 − a) C + a I,      κ(C(a)) = ((1−a) λ₁ + a) / ((1−a) λ_N + a)

Solving κ(C(a)) = K' for a, with K' = K (1 − 1e-9) a hair below the limit K, gives

    a* = (λ₁ − K' λ_N) / (λ₁ − K' λ_N + K' − 1),      0 if λ₁ − K' λ_N ≤ 0

so the bound is met in one step: nothing is searched, nothing overshoots. The diagonal stays 1, hence
variances are untouched.

Only the two extreme eigenvalues are computed: C = Q T Q' with T tridiagonal (LAPACK dsytrd), then bisection
on the Sturm count of T (dstebz; Golub & Van Loan, Matrix Computations, 8.4). Both are backward stable: an
eigenvalue is right to a small multiple of λ₁ · 2⁻⁵³ whatever C is, hence κ to about κ · 1e-15 relative. A
large matrix with one dominant factor needs fewer operations by Lanczos' method (`extremes.py`), whose
values are proven; the reduction does what that refuses.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.extremes import MANY, proven_ends

Array = NDArray[np.float64]

# How far below the limit the closed form aims, so that rounding cannot leave κ on or above it.
MARGIN = 1e-9

_BY_INDEX = 2  # dstebz: eigenvalues il to iu, ascending


class Conditioned(NamedTuple):
    """A conditioned correlation and how much it took.

    corr : ndarray of shape (N, N), (1 − a) C + a I, symmetric with unit diagonal
    intensity : a in [0, 1)
    kappa_before, kappa_after : condition numbers of C and C(a); infinite if C is singular
    """

    corr: Array
    intensity: float
    kappa_before: float
    kappa_after: float


def condition_correlation(corr: Array, kappa_limit: float, *, floor: float = 0.0) -> Conditioned:
    """Condition `corr` so that λ_max / λ_min < `kappa_limit`, with the smallest sufficient intensity.

    Parameters
    ----------
    corr : ndarray of shape (N, N), symmetric, unit diagonal, finite
    kappa_limit : K > 1
    floor : least intensity to apply, in [0, 1); the result uses max(a*, floor)

    Guarantees a ≤ N / (N + K − 1) when `floor` does not bind. One tridiagonal reduction, 4N³/3 flops, or
    one to two Cholesky factorisations, N³/3 flops each. The argument is not modified.
    """
    ends = proven_ends(corr, kappa_limit * (1.0 - MARGIN)) if len(corr) >= MANY else None
    least, largest = ends or extreme_eigenvalues(corr)
    smallest = max(least, 0.0)
    intensity = max(minimal_intensity(largest, smallest, kappa_limit), floor)
    conditioned = corr + corr.T
    conditioned *= (1.0 - intensity) / 2.0
    conditioned.reshape(-1, order="A")[:: len(conditioned) + 1] = 1.0
    return Conditioned(
        conditioned,
        intensity,
        _ratio(largest, smallest),
        _ratio((1.0 - intensity) * largest + intensity, (1.0 - intensity) * smallest + intensity),
    )


def extreme_eigenvalues(matrix: Array) -> tuple[float, float]:
    """Smallest and largest eigenvalue of a symmetric `matrix` of shape (N, N); its lower triangle is read."""
    from scipy.linalg import lapack

    size = len(matrix)
    if size == 1:
        return float(matrix[0, 0]), float(matrix[0, 0])
    # A blocked reduction needs the workspace that LAPACK asks for; the default one is several times slower.
    work = int(lapack.dsytrd_lwork(size, lower=1)[0])
    _, diagonal, off_diagonal, _, _ = lapack.dsytrd(matrix.T, lower=1, lwork=work)
    ends = [
        lapack.dstebz(diagonal, off_diagonal, _BY_INDEX, 0.0, 0.0, k, k, 0.0, "E")[1][0] for k in (1, size)
    ]
    return float(ends[0]), float(ends[1])


def minimal_intensity(largest: float, smallest: float, kappa_limit: float) -> float:
    """a* of the module's formula, from the extreme eigenvalues λ₁ and λ_N ≥ 0."""
    limit = kappa_limit * (1.0 - MARGIN)
    excess = largest - limit * smallest
    return excess / (excess + limit - 1.0) if excess > 0.0 else 0.0


def _ratio(largest: float, smallest: float) -> float:
    return largest / smallest if smallest > 0.0 else float("inf")
