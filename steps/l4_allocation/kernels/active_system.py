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
# A factor is borrowed while its set differs in fewer than one name of so many.
BORROWED = 14
# Relative give of the rows while they are dependent: an inconsistent row prices its names in.
ELASTIC = 1e-9


class Dense:
    """Σ + ρ I, factorised by LAPACK. The last factor serves the sets near its own."""

    def __init__(self, cov: Array, ridge: float) -> None:
        self.cov, self.ridge = cov, ridge
        self.diagonal = cov.diagonal() + ridge
        self.factorisations = 0
        self.own = False
        self._free: Index | None = None
        self._factor: Array | None = None

    def press(self, weights: Array) -> Array:
        """Q w. O(N²)."""
        pressed = self.cov @ weights
        if self.ridge:
            pressed += self.ridge * weights
        return pressed

    def invert(self, free: Index, sides: Array, *, own: bool = False) -> Array | None:
        """Q_FF⁻¹ `sides`, or null where Q_FF is not positive definite.

        own : the factor must be that of F itself, so that nothing but F decides the bits
        O(|F|³/3) for a new factor, else O(|F|²) per side and per name by which F differs from the last set.
        """
        potrf, potrs = lapack()
        if self._factor is not None and self._free is not None:
            gone, new = self._changes(free)
            if not len(gone) + len(new):
                self.own = True
                return np.asarray(potrs(self._factor, sides, lower=1)[0])
            if not own and BORROWED * (len(gone) + len(new)) < free.size:
                self.own = False
                return self._borrowed(free, sides, gone, new)
        block = self.cov.copy() if free.size == len(self.cov) else self.cov.take(free, 0).take(free, 1)
        if self.ridge:
            block.flat[:: free.size + 1] += self.ridge
        factor, failed = potrf(block.T, lower=1, clean=0, overwrite_a=1)
        self.factorisations += 1
        self.own, self._free, self._factor = True, free, None if failed else factor
        return None if failed else np.asarray(potrs(factor, sides, lower=1)[0])

    def _changes(self, free: Index) -> tuple[Index, Index]:
        """Names that the last factor has beyond F, and those that it lacks."""
        last = self._free
        assert last is not None
        if free.size == last.size and (free == last).all():
            return free[:0], free[:0]
        before, after = np.zeros(len(self.cov), dtype=np.bool_), np.zeros(len(self.cov), dtype=np.bool_)
        before[last], after[free] = True, True
        return (before & ~after).nonzero()[0], (after & ~before).nonzero()[0]

    def _borrowed(self, free: Index, sides: Array, gone: Index, new: Index) -> Array:
        """Q_FF⁻¹ `sides` with the last factor, bordered by the names that came and those that went.

        With L the last set: Q_LL x + Q_Ln x_n + I_g m = b_L, Q_nL x + Q_nn x_n = b_n, x_g = 0.
        """
        last, factor = self._free, self._factor
        assert last is not None and factor is not None
        place = np.searchsorted(last, gone)
        full = np.zeros((len(self.cov), sides.shape[1]))
        full[free] = sides
        border = np.zeros((len(new) + len(gone), last.size))
        border[: len(new)] = self.cov.take(new, 0).take(last, 1)
        border[np.arange(len(new), len(border)), place] = 1.0
        solved = lapack()[1](factor, np.concatenate((full[last], border.T), axis=1), lower=1)[0]
        plain, moved = solved[:, : sides.shape[1]], solved[:, sides.shape[1] :]
        corner = -border @ moved
        corner[: len(new), : len(new)] += self.cov.take(new, 0).take(new, 1)
        corner.flat[: len(new) * (len(corner) + 1) : len(corner) + 1] += self.ridge
        level = -border @ plain
        level[: len(new)] += full[new]
        extra = np.linalg.solve(corner, level)
        full[last] = plain - moved @ extra
        full[new] = extra[: len(new)]
        return full[free]


def claim(
    dense: Dense, pieces: Pieces, partition: Partition, tilt: float, *, own: bool = False
) -> tuple[Point, bool] | None:
    """The point of a partition and whether its rows gave, or null where it has no equations to solve.

    tilt : the t of the additive form, and of a ratio whose own equation has no positive root
    own : the factor must be that of the partition
    """
    free = (partition.states & 1).nonzero()[0]
    if not free.size:
        return None
    weights = pieces.fixed(partition.states)
    gain, constant = pieces.tilted(partition.states)
    active = partition.rows.nonzero()[0]
    normals, rest = pieces.normals[:1], pieces.level[:1]
    if active.size:
        chosen = np.concatenate(([0], 1 + active))
        normals, rest = pieces.normals[chosen], pieces.level[chosen]
    load = None
    if weights.any():
        load, rest = dense.press(weights), rest - normals @ weights
    border = normals.take(free, 1)
    # w_F = base + t slope − Q⁻¹E y: the additive form has one column, t = 1.
    ratio = 1 if pieces.program.ratio else 0
    sides = np.zeros((1 + ratio + len(border), free.size))
    sides[ratio] = gain[free]
    if load is not None:
        sides[0] -= load[free]
    sides[1 + ratio :] = border
    solved = dense.invert(free, sides.T, own=own)
    if solved is None:
        return None
    schur = border @ solved
    schur[:, 0] -= rest
    multipliers, elastic = _multipliers(schur[:, 1 + ratio :], schur[:, : 1 + ratio])
    path = solved[:, : 1 + ratio] - solved[:, 1 + ratio :] @ multipliers
    found, y = path[:, 0], multipliers[:, 0]
    if ratio:
        # t k₀ + ν + λ'h + Σ_A μ_i w_i = 0, with μ_A of the point and w_A fixed.
        still, slope = float(rest @ multipliers[:, 0]), constant + float(rest @ multipliers[:, 1])
        if load is not None:
            still -= float(weights @ load) + float(load[free] @ path[:, 0])
            slope += float(gain @ weights) - float(load[free] @ path[:, 1])
        root = -still / slope if slope != 0.0 else -1.0
        tilt = root if root > 0.0 else tilt
        found, y = found + tilt * path[:, 1], y + tilt * multipliers[:, 1]
    weights[free] = found
    return Point(weights, dense.press(weights), tilt, float(y[0]), y[1:]), elastic


def without_dependent(dense: Dense, pieces: Pieces, partition: Partition, rows: Array) -> Partition:
    """The partition without rows that depend on the others; the weakest go, so no sign turns.

    rows : λ of the active rows.
    """
    free = (partition.states & 1).nonzero()[0]
    index = partition.rows.nonzero()[0]
    border = pieces.normals[np.concatenate(([0], 1 + index))][:, free]
    solved = dense.invert(free, border.T, own=True)
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
