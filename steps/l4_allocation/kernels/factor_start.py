"""Where the active set starts: the partition of a sparse model of the program.

The model replaces Q by M = diag(d) + b b', its diagonal and leading factor. With s = b'x for the factor
and E = [1, b', G] its dual has 2 + R unknowns y = (ν, σ, λ):

    x(y) = prox((t g − E'y)/d),   ∇ = E x(y) − (1, σ, h),   −∇² = E_F D_F⁻¹ E_F' + (0, 1, 0)

It is concave and piecewise quadratic: Newton's method, with the Hessian lifted a little towards that of
all names and a search that does not step far beyond the crest, ends after few products of order N(R + 2)
(Ito & Kunisch 2008, Lagrange multiplier approach to variational problems, ch. 8). A ratio's t is moved
by Newton's step of its own equation in between.

Nothing depends on how exactly the model is solved: its partition is only the first guess.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.active_system import Dense, lapack
from quantctl.steps.l4_allocation.kernels.pieces import Partition, Pieces

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]

POWER_STEPS = 3
STEPS = 40
SEARCHES = 8
TOLERANCE = 1e-2
# Share of the Hessian of all names that is added to that of the free ones, times the violation.
LIFT = 5e-2
LEAST = 1e-9
# Largest overshoot of a step, as a share of the slope at its beginning.
CREST = 0.3
# Violation below which the t of a ratio follows, the least numerator of its first value, and the change
# of t that no longer matters.
FEASIBLE = 0.03
POSITIVE = 0.2
SETTLED = 0.2
# Largest part of the variance of a name that is left to the factor.
COMMON = 0.9


class Trial(NamedTuple):
    """x(y) before and after clipping, the free names, and ∇."""

    target: Array
    weights: Array
    free: Mask
    gradient: Array


class FactorModel:
    """The dual of a program with diag(d) + b b' for Q."""

    def __init__(self, pieces: Pieces, dense: Dense) -> None:
        self.pieces = pieces
        self.loading = _leading_factor(dense)
        self.specific = dense.diagonal - self.loading**2
        self.normals = np.concatenate((pieces.normals[:1], self.loading[None, :], pieces.normals[1:]))
        self.level = np.concatenate((pieces.level[:1], (0.0,), pieces.level[1:]))
        self.inverse = 1.0 / self.specific
        self.spread = (self.normals**2) @ self.inverse

    def start(self) -> tuple[Partition, float]:
        """The model's partition and its t."""
        pieces = self.pieces
        dual, tilt = np.zeros(self.level.size), 1.0
        if pieces.program.ratio:
            variance, numerator = self._ratio(np.full(self.specific.size, 1.0 / self.specific.size))
            tilt = variance / max(numerator, POSITIVE * float(np.abs(pieces.gain).max()), 1e-300)
        dual[0] = tilt * float(np.sort(pieces.gain)[pieces.gain.size // 2])
        dual, tilt, trial = self._climbed(dual, tilt)
        partition = Partition(pieces.pieces(trial.target), dual[2:] > 0.0)
        residual = self.specific * trial.weights - tilt * pieces.gain + dual @ self.normals
        none = np.zeros_like(partition.states)
        return pieces.supported(partition, residual, tilt, none), tilt

    def _climbed(self, dual: Array, tilt: float) -> tuple[Array, float, Trial]:
        """Newton's iteration from `dual`; the t of a ratio follows where the rows nearly hold."""
        ratio, trial = self.pieces.program.ratio, self._trial(dual, tilt)
        settled = not ratio
        for _ in range(STEPS):
            active = (dual > 0.0) | (trial.gradient > 0.0)
            active[:2] = True
            error = float(np.abs(trial.gradient[active]).max())
            if error < TOLERANCE and settled:
                break
            if error < FEASIBLE and not settled:
                dual, following = self._tilted(dual, trial, tilt)
                settled = abs(following - tilt) < SETTLED * tilt
                tilt, trial = following, self._trial(dual, following)
                continue
            dual, trial = self._step(dual, trial, active.nonzero()[0], tilt, LIFT * min(error, 1.0))
            settled = not ratio
        return dual, tilt, trial

    def _trial(self, dual: Array, tilt: float) -> Trial:
        pieces = self.pieces
        target = (tilt * pieces.gain - dual @ self.normals) * self.inverse
        if pieces.kink:
            target = pieces.prox(target, tilt * pieces.kink * self.inverse)
        weights = np.minimum(np.maximum(target, pieces.lower), pieces.upper)
        free = weights == target
        if pieces.kink:
            free &= target != pieces.previous
        gradient = self.normals @ weights - self.level
        gradient[1] -= dual[1]
        return Trial(target, weights, free, gradient)

    def _step(self, dual: Array, trial: Trial, index: Index, tilt: float, lift: float) -> tuple[Array, Trial]:
        """One Newton step over the rows `index`, shortened while the dual falls behind its crest."""
        hessian = self._hessian(self.normals.take(index, 0), trial.free * self.inverse, index, lift)
        step = np.zeros(dual.size)
        step[index] = _solved(hessian, trial.gradient[index])
        slope, length = float(trial.gradient @ step), 1.0
        for _ in range(SEARCHES):
            following = dual + length * step
            following[2:] = np.maximum(following[2:], 0.0)
            found = self._trial(following, tilt)
            reached = float(found.gradient @ (following - dual)) / length
            if reached >= -CREST * slope:
                break
            length *= max(0.1, slope / (slope - reached))
        return following, found

    def _hessian(self, border: Array, give: Array, index: Index, lift: float) -> Array:
        """−∇² of the dual over the rows `index`, lifted; `border` is E of those, `give` D⁻¹, 0 off F."""
        hessian = np.asarray((border * give) @ border.T)
        hessian.reshape(-1)[:: len(index) + 1] += lift * self.spread[index]
        hessian[1, 1] += 1.0
        return hessian

    def _tilted(self, dual: Array, trial: Trial, tilt: float) -> tuple[Array, float]:
        """y and t after Newton's step in t: on a partition x'Mx = V + t²v and numerator = n + tv."""
        active = dual > 0.0
        active[:2] = True
        give, index = trial.free * self.inverse, active.nonzero()[0]
        gain = self.pieces.gain
        if self.pieces.kink:
            gain = gain - self.pieces.kink * np.sign(trial.weights - self.pieces.previous)
        border, moved = self.normals.take(index, 0), gain * give
        load = border @ moved
        turned = _solved(self._hessian(border, give, index, LEAST), load)
        spread = max(float(gain @ moved) - float(load @ turned), 0.0)
        variance, numerator = self._ratio(trial.weights)
        still, least = variance - tilt**2 * spread, numerator - tilt * spread
        aim = still / least if still > 0.0 and least > 0.0 else np.inf
        following = min(max(aim, 0.5 * tilt), 2.0 * tilt)
        dual = dual.copy()
        dual[index] += (following - tilt) * turned
        dual[2:] = np.maximum(dual[2:], 0.0)
        return dual, following

    def _ratio(self, weights: Array) -> tuple[float, float]:
        """x'Mx and the numerator of the ratio."""
        pieces = self.pieces
        numerator = float(pieces.gain @ weights)
        if pieces.kink:
            traded = float(np.abs(weights - pieces.previous).sum()) + pieces.program.exit_turnover
            numerator -= pieces.kink * traded
        common = float(self.loading @ weights)
        return float(self.specific @ weights**2) + common**2, numerator


def _solved(hessian: Array, side: Array) -> Array:
    """H⁻¹ b of a small positive definite H."""
    potrf, potrs = lapack()
    factor, failed = potrf(hessian, lower=1)
    found = np.linalg.lstsq(hessian, side)[0] if failed else potrs(factor, side, lower=1)[0]
    return np.asarray(found, dtype=np.float64)


def _leading_factor(dense: Dense) -> Array:
    """b with b b' near the leading eigenpair of the correlation form of Q, less its diagonal's share."""
    scale = np.sqrt(dense.diagonal)
    factor = dense.cov[int(np.argmin(dense.diagonal))] / scale
    root = 1.0
    for _ in range(POWER_STEPS):
        factor = factor / np.sqrt(float(factor @ factor))
        pressed = dense.press(factor / scale) / scale
        factor, root = pressed, float(factor @ pressed)
    loading = factor * np.sqrt(max(root - 1.0, 0.0) / float(factor @ factor))
    return np.asarray(scale * loading.clip(-(COMMON**0.5), COMMON**0.5))
