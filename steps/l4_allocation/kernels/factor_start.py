"""Where the active set starts: the partition of a sparse model of the program.

The model replaces Q by diag(d) + b b', its diagonal and leading factor. With s = b'x for the factor and
E = [1, b', G] its dual has 2 + R unknowns y = (ν, σ, λ):

    x(y) = prox((t g − E'y)/d),   ∇ = E x(y) − (1, σ, h),   −∇² = E_F D_F⁻¹ E_F' + (0, 1, 0)

It is concave and piecewise quadratic: Newton's method, with the Hessian lifted a little towards that of
all names and a search that does not step far beyond the crest, ends after few products of order N(R + 2)
(Ito & Kunisch 2008, Lagrange multiplier approach to variational problems, ch. 8). A ratio follows with
t = x'Qx/numerator from step to step. Nothing depends on how exactly the model is solved: the partition
is only the first guess.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.active_system import Dense
from quantctl.steps.l4_allocation.kernels.pieces import Partition, Pieces

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]

POWER_STEPS = 3
STEPS = 40
SEARCHES = 8
TOLERANCE = 1e-3
# Share of the Hessian of all names that is added to that of the free ones.
LIFT = 1e-3
# Largest overshoot of a step, as a share of the slope at its beginning.
CREST = 0.3
# Violation below which the t of a ratio follows, and the least numerator of its first value.
FEASIBLE = 0.1
POSITIVE = 0.2
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
        self.normals = np.insert(pieces.normals, 1, self.loading, axis=0)
        self.level = np.insert(pieces.level, 1, 0.0)
        self.lift = LIFT * ((self.normals**2) @ (1.0 / self.specific))

    def start(self) -> tuple[Partition, float]:
        """The model's partition and its t."""
        pieces = self.pieces
        weights = np.full(self.specific.size, 1.0 / self.specific.size)
        tilt = 1.0
        if pieces.program.ratio:
            variance, numerator = self._ratio(weights)
            tilt = variance / max(numerator, POSITIVE * float(np.abs(pieces.gain).max()), 1e-300)
        dual = np.zeros(self.level.size)
        dual[0] = tilt * float(np.median(pieces.gain))
        trial = self._trial(dual, tilt)
        for _ in range(STEPS):
            active = (dual > 0.0) | (trial.gradient > 0.0)
            active[:2] = True
            if float(np.abs(trial.gradient[active]).max()) < TOLERANCE:
                break
            dual, trial = self._step(dual, trial, active, tilt)
            if pieces.program.ratio and float(np.abs(trial.gradient).max()) < FEASIBLE:
                dual, tilt = self._tilted(dual, trial, tilt)
                trial = self._trial(dual, tilt)
        return Partition(pieces.pieces(trial.target), dual[2:] > 0.0), tilt

    def _trial(self, dual: Array, tilt: float) -> Trial:
        pieces = self.pieces
        target = (tilt * pieces.gain - dual @ self.normals) / self.specific
        if pieces.kink:
            target = pieces.prox(target, tilt * pieces.kink / self.specific)
        weights = np.minimum(np.maximum(target, pieces.lower), pieces.upper)
        free = weights == target
        if pieces.kink:
            free &= target != pieces.previous
        gradient = self.normals @ weights - self.level
        gradient[1] -= dual[1]
        return Trial(target, weights, free, gradient)

    def _hessian(self, free: Mask, index: Index) -> tuple[Array, Array]:
        """−∇² of the dual over the rows `index`, lifted; and E_F of those rows."""
        border = self.normals[index][:, free]
        hessian = (border / self.specific[free]) @ border.T
        hessian.flat[:: len(index) + 1] += self.lift[index]
        hessian[1, 1] += 1.0
        return hessian, border

    def _step(self, dual: Array, trial: Trial, active: Mask, tilt: float) -> tuple[Array, Trial]:
        """One Newton step, shortened while the dual falls behind its crest."""
        index = active.nonzero()[0]
        hessian, _ = self._hessian(trial.free, index)
        step = np.zeros(dual.size)
        step[index] = np.linalg.solve(hessian, trial.gradient[index])
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

    def _tilted(self, dual: Array, trial: Trial, tilt: float) -> tuple[Array, float]:
        """y and t after Newton's step in t: on a partition x'Qx = V + t²v and numerator = n + tv."""
        free, index = trial.free, np.concatenate(((True, True), dual[2:] > 0.0)).nonzero()[0]
        gain = self.pieces.gain[free]
        if self.pieces.kink:
            gain = gain - self.pieces.kink * np.sign(trial.weights - self.pieces.previous)[free]
        hessian, border = self._hessian(free, index)
        load = border @ (gain / self.specific[free])
        turned = np.linalg.solve(hessian, load)
        spread = max(float(gain @ (gain / self.specific[free])) - float(load @ turned), 0.0)
        variance, numerator = self._ratio(trial.weights)
        still, least = variance - tilt**2 * spread, numerator - tilt * spread
        aim = still / least if still > 0.0 and least > 0.0 else np.inf
        following = min(max(aim, 0.5 * tilt), 2.0 * tilt)
        dual = dual.copy()
        dual[index] += (following - tilt) * turned
        dual[2:] = np.maximum(dual[2:], 0.0)
        return dual, following

    def _ratio(self, weights: Array) -> tuple[float, float]:
        """x'Qx of the model and the numerator."""
        pieces = self.pieces
        variance = float(self.specific @ weights**2) + float(self.loading @ weights) ** 2
        numerator = float(pieces.gain @ weights)
        if pieces.kink:
            traded = float(np.abs(weights - pieces.previous).sum()) + pieces.program.exit_turnover
            numerator -= pieces.kink * traded
        return variance, numerator


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
