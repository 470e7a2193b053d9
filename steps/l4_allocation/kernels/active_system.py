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

from quantctl.steps.l4_allocation.kernels.pieces import Partition, Pieces, Point, States

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Relative squared pivot below which an active row is a combination of those before it.
DEPENDENT = 1e-10
# Violation up to which dependent equations agree with one another.
CONSISTENT = 1e-7
# Change of a residual along a direction of the multipliers that counts as one.
TURNED = 1e-9
TURNS = 12
# A factor is borrowed while its set differs in fewer than one name of so many; a small one is made anew.
BORROWED = 14
SMALL = 128
TINY = float(np.finfo(np.float64).tiny)
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
            if not own and max(SMALL, BORROWED * (len(gone) + len(new))) < free.size:
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
    weights = pieces.fixed(partition.states)
    gain, constant = pieces.tilted(partition.states)
    normals, level = pieces.equations(partition.rows)
    if not free.size:
        return _corner(dense, pieces, partition, weights, normals, level)
    load, rest = None, level
    if free.size < weights.size and weights.any():
        load, rest = dense.press(weights), level - normals @ weights
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
    pressed = dense.press(weights)
    if elastic and float(np.abs(normals @ weights - level).max()) < CONSISTENT:
        y = _balanced(pieces, partition.states, pressed, tilt, y, normals)
    return Point(weights, pressed, tilt, float(y[0]), y[1:]), elastic


def _corner(
    dense: Dense, pieces: Pieces, partition: Partition, weights: Array, normals: Array, level: Array
) -> tuple[Point, bool] | None:
    """The point of a partition without free names, where it meets its equations; t is w'Qw/numerator."""
    if float(np.abs(normals @ weights - level).max()) >= CONSISTENT:
        return None
    pressed, tilt = dense.press(weights), 1.0
    if pieces.program.ratio:
        gain, constant = pieces.tilted(partition.states)
        numerator = float(gain @ weights) + constant
        if not numerator > 0.0:
            return None
        tilt = float(weights @ pressed) / numerator
    y = _balanced(pieces, partition.states, pressed, tilt, np.zeros(len(level)), normals)
    return Point(weights, pressed, tilt, float(y[0]), y[1:]), True


def _balanced(pieces: Pieces, states: States, pressed: Array, tilt: float, y: Array, normals: Array) -> Array:
    """Multipliers of dependent equations, moved along what the free names do not tell of them.

    Stationarity on F fixes y up to n with n'E_F = 0. As far as steps along each n in turn allow, the signs
    of the fixed names, r ≥ 0 at a lower bound, and of the rows are made right.
    """
    free = (states & 1) == 1
    border, force = normals[:, free], pressed - tilt * pieces.gain
    still = pressed - tilt * pieces.tilted(states)[0] + y @ normals
    if free.any():
        y = y - np.linalg.lstsq(border.T, still[free], rcond=1e-10)[0]
    roots, axes = np.linalg.eigh(border @ border.T)
    low, high = pieces.signs(states, tilt)
    loose = axes.T[roots < DEPENDENT * max(float(roots[-1]), 1.0)]
    for axis in [*loose] * (1 if len(loose) == 1 else TURNS):
        residual, turn = force + y @ normals, axis @ normals
        gap = (
            np.concatenate((low - residual, -y[1:])),
            np.concatenate((high - residual, np.full(y.size - 1, np.inf))),
        )
        slope = np.concatenate((np.where(free, 0.0, turn), axis[1:]))
        moved = np.abs(slope) > TURNED
        if not moved.any():
            continue
        ends = gap[0][moved] / slope[moved], gap[1][moved] / slope[moved]
        least, most = float(np.minimum(*ends).max()), float(np.maximum(*ends).min())
        y = y + axis * (min(max(0.0, least), most) if least <= most else 0.5 * (least + most))
    return y


def without_dependent(dense: Dense, pieces: Pieces, partition: Partition) -> Partition:
    """The partition without rows that depend on the budget and the rows before them."""
    free = (partition.states & 1).nonzero()[0]
    index = partition.rows.nonzero()[0]
    left = np.zeros_like(partition.rows)
    if free.size and index.size:
        border = pieces.normals[np.concatenate(([0], 1 + index))][:, free]
        solved = dense.invert(free, border.T, own=True)
        if solved is None:
            return partition
        kept = independent(border @ solved, np.arange(1 + index.size))
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
        return sides / max(schur[0, 0], TINY), False
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
