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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.pieces import Partition, Pieces, Point

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Relative squared pivot below which an active row is a combination of those before it.
DEPENDENT = 1e-10
# Relative give of the rows while they are dependent: an inconsistent row prices its names in.
ELASTIC = 1e-9


class Dense:
    """Σ + ρ I, factorised by LAPACK; the factor of the last free set is kept."""

    def __init__(self, cov: Array, ridge: float) -> None:
        self.cov, self.ridge = cov, ridge
        self.diagonal = cov.diagonal() + ridge
        self.factorisations = 0
        self._key = b""
        self._factor: Array | None = None

    def press(self, weights: Array) -> Array:
        """Q w. O(N²)."""
        pressed = self.cov @ weights
        if self.ridge:
            pressed += self.ridge * weights
        return pressed

    def invert(self, free: Index, sides: Array) -> Array | None:
        """Q_FF⁻¹ `sides`. O(|F|³/3) where the free set is new, else O(|F|²) per side."""
        potrf, potrs = lapack()
        key = free.tobytes()
        if key != self._key:
            block = self.cov.copy() if free.size == self.diagonal.size else self.cov[free[:, None], free]
            if self.ridge:
                block.flat[:: free.size + 1] += self.ridge
            factor, failed = potrf(block.T, lower=1, clean=0, overwrite_a=1)
            self.factorisations += 1
            self._key, self._factor = key, None if failed else factor
        if self._factor is None:
            return None
        return np.asarray(potrs(self._factor, sides, lower=1)[0])


def claim(dense: Dense, pieces: Pieces, partition: Partition, tilt: float) -> tuple[Point, bool] | None:
    """The point of a partition and whether its rows gave, or null where it has no equations to solve.

    tilt : the t of the additive form, and of a ratio whose own equation has no positive root
    """
    free = (partition.states & 1).nonzero()[0]
    if not free.size:
        return None
    fixed = pieces.fixed(partition.states)
    gain, constant = pieces.tilted(partition.states)
    chosen = np.concatenate(([0], 1 + partition.rows.nonzero()[0]))
    normals = pieces.normals[chosen]
    load, rest = fixed, pieces.level[chosen]
    if fixed.any():
        load, rest = dense.press(fixed), rest - normals @ fixed
    border = normals[:, free]
    sides = np.empty((2 + len(border), free.size))
    sides[0], sides[1], sides[2:] = load[free], gain[free], border
    solved = dense.invert(free, sides.T)
    if solved is None:
        return None
    schur = border @ solved
    schur[:, 0] += rest
    multipliers, elastic = _multipliers(schur[:, 2:], schur[:, :2])
    # w_F = −path₀ + t path₁ and y = −multipliers₀ + t multipliers₁
    path = solved[:, :2] - solved[:, 2:] @ multipliers
    if pieces.program.ratio:
        still = float(load[free] @ path[:, 0]) - float(rest @ multipliers[:, 0]) - float(fixed @ load)
        slope = constant + float(gain @ fixed) - float(load[free] @ path[:, 1])
        slope += float(rest @ multipliers[:, 1])
        root = -still / slope if slope != 0.0 else -1.0
        tilt = root if root > 0.0 else tilt
    weights = fixed
    weights[free] = tilt * path[:, 1] - path[:, 0]
    y = tilt * multipliers[:, 1] - multipliers[:, 0]
    return Point(weights, dense.press(weights), tilt, float(y[0]), y[1:]), elastic


def without_dependent(dense: Dense, pieces: Pieces, partition: Partition, rows: Array) -> Partition:
    """The partition without rows that depend on the others; the weakest go, so no sign turns.

    rows : λ of the active rows.
    """
    free = (partition.states & 1).nonzero()[0]
    index = partition.rows.nonzero()[0]
    border = pieces.normals[np.concatenate(([0], 1 + index))][:, free]
    solved = dense.invert(free, border.T.copy())
    assert solved is not None
    strongest = np.concatenate(([0], 1 + np.argsort(-rows, kind="stable")))
    kept = independent(border @ solved, strongest)
    left = np.zeros_like(partition.rows)
    left[index[kept[kept > 0] - 1]] = True
    return Partition(partition.states, left)


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
