"""Conditioning of a correlation matrix: the smallest ridge that bounds its condition number.

    C(a) = (1 − a) C + a I,      κ(C(a)) = ((1−a) λ₁ + a) / ((1−a) λ_N + a)

Solving κ(C(a)) = K' for a, with K' = K (1 − 1e-9) a hair below the limit K, gives

    a* = (λ₁ − K' λ_N) / (λ₁ − K' λ_N + K' − 1),      0 if λ₁ − K' λ_N ≤ 0

so the bound is met in one step: nothing is searched, nothing overshoots. The diagonal stays 1, hence
variances are untouched.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# How far below the limit the closed form aims, so that rounding cannot leave κ on or above it.
MARGIN = 1e-9


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

    Guarantees a ≤ N / (N + K − 1) when `floor` does not bind. One symmetric eigenvalue
    decomposition, O(N³). The argument is not modified.
    """
    eigenvalues = np.linalg.eigvalsh(corr)
    smallest, largest = max(float(eigenvalues[0]), 0.0), float(eigenvalues[-1])
    intensity = max(minimal_intensity(largest, smallest, kappa_limit), floor)
    conditioned = (1.0 - intensity) * corr
    conditioned = (conditioned + conditioned.T) / 2.0
    np.fill_diagonal(conditioned, 1.0)
    return Conditioned(
        conditioned,
        intensity,
        _ratio(largest, smallest),
        _ratio((1.0 - intensity) * largest + intensity, (1.0 - intensity) * smallest + intensity),
    )


def minimal_intensity(largest: float, smallest: float, kappa_limit: float) -> float:
    """a* of the module's formula, from the extreme eigenvalues λ₁ and λ_N ≥ 0."""
    limit = kappa_limit * (1.0 - MARGIN)
    excess = largest - limit * smallest
    return excess / (excess + limit - 1.0) if excess > 0.0 else 0.0


def _ratio(largest: float, smallest: float) -> float:
    return largest / smallest if smallest > 0.0 else float("inf")
