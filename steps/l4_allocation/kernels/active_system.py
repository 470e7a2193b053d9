"""The linear system of one partition: stationarity on the free names, bordered by the equations.

For free names F, fixed names A and active rows E = [1, G_a'], the point w(t) solves

    Q_FF w_F + E_F y = t g_F − Q_FA w_A,      E_F' w_F = e,      e = [1, h_a] − E_A' w_A

with g the gain less the slopes of the kink (and the additive form's t = 1). One Cholesky of Q_FF serves
all right-hand sides; y follows from the Schur complement E_F' Q_FF⁻¹ E_F. A ratio adds one scalar: the
stationarity, multiplied by w and summed, is

    t k₀ + ν + λ'h + Σ_A μ_i w_i = 0,      k₀ = c Σ s_i w₀_i − c v

because t times the numerator equals w'Qw at the optimum (Schaible 1974: y = κw). It is linear in t.

Everything is in units of Σ: Q/scale = Σ + (ridge/scale) I, so the matrix is never multiplied.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Relative squared pivot below which an active row is a combination of those before it.
DEPENDENT = 1e-10
# Relative give of the rows while they are dependent: an inconsistent row prices its names in.
ELASTIC = 1e-9


class Curvature(Protocol):
    """A positive definite matrix as the iteration sees it: Q + damping · diag Q."""

    diagonal: Array
    damping: float

    def press(self, weights: Array) -> Array:
        """(Q + damping · diag Q) w."""

    def invert(self, free: Index, sides: Array) -> Array | None:
        """Q_FF⁻¹ `sides`, or null where Q_FF is not positive definite."""


class Dense:
    """Σ + ρ I, factorised by LAPACK; the factor of the last free set is kept."""

    def __init__(self, cov: Array, ridge: float) -> None:
        self.cov, self.ridge = cov, ridge
        self.diagonal = cov.diagonal() + ridge
        self.factorisations, self.damping = 0, 0.0
        self._key: tuple[float, bytes] = (0.0, b"")
        self._factor: Array | None = None

    def press(self, weights: Array) -> Array:
        """(Q + damping · diag Q) w. O(N²)."""
        pressed = self.cov @ weights
        if self.ridge:
            pressed += self.ridge * weights
        return pressed + self.damping * self.diagonal * weights if self.damping else pressed

    def invert(self, free: Index, sides: Array) -> Array | None:
        """Q_FF⁻¹ `sides`. O(|F|³/3) where the free set is new, else O(|F|²) per side."""
        potrf, potrs = lapack()
        key = (self.damping, free.tobytes())
        if key != self._key:
            block = self.cov.copy() if free.size == self.diagonal.size else self.cov[free[:, None], free]
            if self.ridge or self.damping:
                block.flat[:: free.size + 1] += self.ridge + self.damping * self.diagonal[free]
            factor, failed = potrf(block.T, lower=1, clean=0, overwrite_a=1)
            self.factorisations += 1
            self._key, self._factor = key, None if failed else factor
        if self._factor is None:
            return None
        return np.asarray(potrs(self._factor, sides, lower=1)[0])


class Claim(NamedTuple):
    """The point of one partition: weights (N,), Q w, t, ν, λ of the active rows, and whether rows gave."""

    weights: Array
    pressed: Array
    tilt: float
    budget: float
    rows: Array
    elastic: bool


def bordered(
    curvature: Curvature, free: Index, fixed: Array, gain: Array, normals: Array, level: Array,
    constant: float | None, tilt: float,
) -> Claim | None:  # fmt: skip
    """The point of a partition, or null where its matrix fails. See the module's formulas.

    fixed : (N,), weights of the fixed names and 0 on the free ones
    gain : (N,), g less slopes;  normals : (1 + a, N), E';  level : (1 + a,), [1, h_a]
    constant : k₀ of a ratio, or null for the additive form
    tilt : the t of the additive form, and of a ratio whose own equation has no positive root
    """
    held = fixed.any()
    load = curvature.press(fixed) if held else fixed
    border = normals[:, free]
    sides = np.empty((2 + len(border), free.size))
    sides[0], sides[1], sides[2:] = load[free], gain[free], border
    solved = curvature.invert(free, sides.T)
    if solved is None:
        return None
    rest = level - normals @ fixed if held else level
    schur = border @ solved
    multipliers, elastic = _multipliers(schur[:, 2:], schur[:, :2] + np.outer(rest, (1.0, 0.0)))
    # w_F = −x₀ + t x₁ and y = −y₀ + t y₁, each column one solve
    path = solved[:, :2] - solved[:, 2:] @ multipliers
    if constant is not None:
        still = -float(fixed @ load) + float(load[free] @ path[:, 0]) - float(rest @ multipliers[:, 0])
        slope = constant + float(gain @ fixed) - float(load[free] @ path[:, 1])
        slope += float(rest @ multipliers[:, 1])
        root = -still / slope if slope != 0.0 else -1.0
        tilt = root if root > 0.0 else tilt
    weights = fixed.copy()
    weights[free] = tilt * path[:, 1] - path[:, 0]
    y = tilt * multipliers[:, 1] - multipliers[:, 0]
    return Claim(weights, curvature.press(weights), tilt, float(y[0]), y[1:], elastic)


def independent(schur: Array, order: Index) -> Index:
    """Rows of a Gram matrix that are independent, taken greedily in `order`; ascending."""
    size = np.sqrt(np.maximum(schur.diagonal(), 0.0))
    gram = schur / np.outer(np.where(size > 0.0, size, 1.0), np.where(size > 0.0, size, 1.0))
    kept: list[int] = []
    for row in order:
        trial = [*kept, int(row)]
        block = gram[np.ix_(trial, trial)]
        if size[row] > 0.0 and np.linalg.eigvalsh(block)[0] > DEPENDENT:
            kept = trial
    return np.array(sorted(kept), dtype=np.intp)


def _multipliers(schur: Array, sides: Array) -> tuple[Array, bool]:
    """Solve the Schur system; dependent rows give a little, so that they can be told apart."""
    if len(schur) == 1:
        return sides / max(schur[0, 0], np.finfo(np.float64).tiny), False
    diagonal = schur.diagonal()
    size = np.sqrt(np.maximum(diagonal, 1e-4 * diagonal.max()))
    gram, scaled = schur / (size[:, None] * size), sides / size[:, None]
    potrf, potrs = lapack()
    factor, failed = potrf(gram, lower=1)
    elastic = bool(failed) or float(factor.diagonal().min()) ** 2 < DEPENDENT
    if elastic:
        factor, failed = potrf(gram + ELASTIC * np.eye(len(gram)), lower=1)
        if failed:
            factor, _ = potrf(gram + 1e3 * ELASTIC * np.eye(len(gram)), lower=1)
    return potrs(factor, scaled, lower=1)[0] / size[:, None], elastic


@cache
def lapack() -> tuple[Any, Any]:
    """dpotrf and dpotrs, imported by the first factorisation."""
    from scipy.linalg.lapack import dpotrf, dpotrs

    return dpotrf, dpotrs
