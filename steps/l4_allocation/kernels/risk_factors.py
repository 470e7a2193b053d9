"""A factor model of a covariance from few products: start and preconditioner of the risk Newton.

    Σ ≈ L L' + diag(r),   L = S (CQ)(Q'CQ)^{-1/2},   r_i = σ_i² − (LL')_ii,   C = S⁻¹ΣS⁻¹

with Q an orthonormal Krylov basis of C from the equally weighted stream (Lanczos), so that LL' is the
Nyström approximation of Σ (Frangella, Tropp & Udell 2023, Randomized Nyström preconditioning; here the
basis is deterministic). If every stream loads positively on that stream one factor is enough: C is then
close to a non-negative matrix, D C D of `risk_newton.py` has its largest eigenvalue, 1, at √b (Perron),
and I + D C D is well conditioned as it stands. Hedged books need more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FACTORS = 16
# Loadings on the equally weighted stream above this are positive beyond doubt.
POSITIVE = 0.05
# The least share of a variance that stays outside the factors.
RESIDUAL = 0.05


class FactorModel(NamedTuple):
    """Σ ≈ L L' + diag(r).

    loadings : ndarray (N, k), L;  residual : ndarray (N,), r > 0;  products : products with Σ it took
    """

    loadings: Array
    residual: Array
    products: int

    def press(self, x: Array) -> Array:
        """(LL' + diag r) x. O(N k)."""
        return np.asarray(self.loadings @ (self.loadings.T @ x) + self.residual * x)

    def inverse(self, d: Array) -> Callable[[Array], Array]:
        """v -> (I + D (LL' + diag r) D)⁻¹ v by the Woodbury identity. O(N k²) once, O(N k) a call."""
        weight = 1.0 / (1.0 + self.residual * d * d)
        scaled = d[:, None] * self.loadings
        leaned = weight[:, None] * scaled
        inner = scaled.T @ leaned
        inner.flat[:: len(inner) + 1] += 1.0
        spread = leaned @ np.linalg.inv(inner) if len(inner) > 1 else leaned / inner

        def apply(v: Array) -> Array:
            return np.asarray(weight * v - spread @ (leaned.T @ v))

        return apply


def one_factor(press: Callable[[Array], Array], vol: Array) -> FactorModel | None:
    """The model of Σ, given as `press`, x -> Σx, on the equally weighted stream; null if one is not enough.

    `vol` : ndarray (N,), standard deviations. One product.
    """
    first = press(1.0 / vol) / vol
    total = float(first.sum())
    if total <= 0.0 or float(first.min()) <= POSITIVE * np.sqrt(total):
        return None
    return _modelled(first[:, None] / np.sqrt(total), vol, 1)


def krylov_factors(press: Callable[[Array], Array], vol: Array) -> FactorModel:
    """The model of Σ, given as `press`, on up to 16 factors. A product each, O(N k²) besides."""
    size = len(vol)
    most, count = min(FACTORS, size // 2), 0
    basis, pressed = np.empty((most, size)), np.empty((most, size))
    new: Array | None = np.full(size, size**-0.5)
    while count < most and new is not None:
        basis[count], pressed[count] = new, press(new / vol) / vol
        count += 1
        new = _orthogonal(pressed[count - 1], basis[:count])
    basis, pressed = basis[:count], pressed[:count]
    values, vectors = np.linalg.eigh(basis @ pressed.T)
    kept = values > 1e-10 * values[-1]
    return _modelled(pressed.T @ (vectors[:, kept] / np.sqrt(values[kept])), vol, count)


def _orthogonal(vector: Array, basis: Array) -> Array | None:
    """The unit direction of `vector` outside `basis` (k, N), or null if it lies inside."""
    size = float(np.linalg.norm(vector))
    for _ in range(2):
        vector = vector - (basis @ vector) @ basis
    left = float(np.linalg.norm(vector))
    return vector / left if left > 1e-8 * size else None


def _modelled(loadings: Array, vol: Array, products: int) -> FactorModel:
    explained = np.einsum("ij,ij->i", loadings, loadings)
    return FactorModel(vol[:, None] * loadings, vol**2 * np.maximum(1.0 - explained, RESIDUAL), products)
