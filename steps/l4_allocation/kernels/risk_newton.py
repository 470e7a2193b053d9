"""Risk budgeting without caps, by Newton's method on the scaled system.

    x* = argmin ½x'Σx − Σ b_i ln x_i, x > 0    (Maillard, Roncalli & Teïletche 2010; Spinu 2013)

Its optimality system is x_i(Σx)_i = b_i. With d = x/√b and the step x ← x(1 + z/√b), Newton's equation
is

    (I + D Σ D) z = √b − d·(Σx)

The matrix has no eigenvalue below 1 and no unit: it is the same for Σ and for its correlations. Small
problems factor it; larger ones solve it by conjugate gradients to an accuracy that follows the error
(Dembo, Eisenstat & Steihaug 1982), in O(N²) a product. The objective is a weighted self-concordant
barrier plus a quadratic, so exact line searches, which cost O(N), make every start converge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.risk_factors import FactorModel, krylov_factors, one_factor

Array = NDArray[np.float64]

# Up to here factorisations are cheaper than the products they save: in any book, and in hedged ones.
DENSE, DENSE_HEDGED = 64, 192
# A step that needs more products than this costs more than a factorisation.
MOST_PRODUCTS = 60
ITERATIONS = 100
ACCURACY = 1e-12
# Below this a step that does not improve the error has reached rounding.
ROUNDING = 1e-9
START_ACCURACY = 1e-1
# A step that moves no name by more than this share of itself is taken in full.
NEAR = 0.3


@dataclass(frozen=True)
class Balance:
    """x > 0 with x_i(Σx)_i = b_i up to `error`, relative and largest over the names, and the work."""

    x: Array
    error: float
    iterations: int
    factorisations: int
    products: int


class _Step(NamedTuple):
    """z of the module's equation, Σ(d·z), and the work."""

    z: Array
    pressed: Array
    factorisations: int
    products: int


# (d, right-hand side, relative accuracy) -> step
_Solver = Callable[[Array, Array, float], _Step]
_Verdict = Callable[[Array, float], bool]


@np.errstate(all="ignore")
def balance_risk(cov: Array, budgets: Array, until: _Verdict | None = None) -> Balance:
    """The point of equal risk of Σ = `cov` (N, N), positive definite, for `budgets` (N,) > 0, sum 1.

    Starts at inverse volatilities or, where it iterates, at the optimum of a factor model of Σ. About 15
    products with Σ if all streams load on one factor, 40-80 in hedged books; O(N²) each. Ends early at an
    iterate x with error e for which `until` (x, e) holds.
    """
    vol = np.sqrt(cov.diagonal())
    if len(vol) <= DENSE:
        return _descend(cov.__matmul__, _Dense(cov), 1.0 / vol, budgets, ACCURACY, until)
    press = symmetric_product(cov)
    model = one_factor(press, vol)
    if model is None and len(vol) <= DENSE_HEDGED:
        return _descend(press, _Dense(cov), 1.0 / vol, budgets, ACCURACY, until)
    model = model or krylov_factors(press, vol)
    start = _descend(model.press, _Modelled(model), 1.0 / vol, budgets, START_ACCURACY)
    found = _descend(press, _Iterative(cov, press, model), start.x, budgets, ACCURACY, until)
    products = found.products + model.products
    return Balance(found.x, found.error, found.iterations, found.factorisations, products)


def symmetric_product(cov: Array) -> Callable[[Array], Array]:
    """x -> Σx from one triangle of Σ: half the memory traffic, which is what a product costs."""
    from scipy.linalg.blas import dsymv

    columns = cov if cov.flags.f_contiguous else np.ascontiguousarray(cov).T

    def press(x: Array) -> Array:
        return np.asarray(dsymv(1.0, columns, x, lower=1))

    return press


def _descend(
    press: Callable[[Array], Array], solve: _Solver, x: Array, budgets: Array, accuracy: float,
    until: _Verdict | None = None,
) -> Balance:  # fmt: skip
    """Newton from `x` until the error is `accuracy`, rounding stops it, or `until` holds."""
    root, before, factorisations, products = np.sqrt(budgets), np.inf, 0, 1
    iterations, pressed = 0, press(x)
    size = np.sqrt(float(x @ pressed))
    x, pressed = x / size, pressed / size
    while True:
        d = x / root
        gap = root - d * pressed
        error = float(np.abs(gap / root).max())
        ended = error <= accuracy or (error < ROUNDING and error > 0.5 * before) or not error < np.inf
        if ended or iterations == ITERATIONS or (until is not None and until(x, error)):
            return Balance(x, error, iterations, factorisations, products)
        step = solve(d, gap, max(min(0.1, error), 0.1 * accuracy / error))
        factorisations, products = factorisations + step.factorisations, products + step.products
        relative = step.z / root
        x, before = x + _length(pressed, step, d, budgets, relative) * (x * relative), error
        iterations, products, pressed = iterations + 1, products + 1, press(x)


def _length(pressed: Array, step: _Step, d: Array, budgets: Array, relative: Array) -> float:
    """The t > 0 where the objective at x(1 + t z/√b) is nearly least, by Newton in one dimension.

    Nearly: its slope is a tenth of the one at 0 (strong Wolfe condition on a convex function).
    """
    fall = -float(relative.min())
    if fall < NEAR and float(relative.max()) < NEAR:
        return 1.0
    move = d * step.z
    slope, bend = float(move @ pressed), float(move @ step.pressed)
    enough = 0.1 * abs(slope - float(budgets @ relative))
    most = 0.99 / fall if fall > 0.0 else np.inf
    t = min(1.0, most)
    for _ in range(20):
        ratio = relative / (1.0 + t * relative)
        pull = budgets * ratio
        there = slope + t * bend - float(pull.sum())
        if abs(there) <= enough:
            break
        change = there / (bend + float(pull @ ratio))
        t = min(t - change if change < t else 0.5 * t, 0.5 * (t + most))
    return t


class _Dense:
    """Newton's equation by Cholesky of I + D Σ D."""

    def __init__(self, cov: Array) -> None:
        from scipy.linalg.lapack import dpotrf, dpotrs

        self.cov, self.factor, self.solve = cov, dpotrf, dpotrs

    def __call__(self, d: Array, gap: Array, _: float) -> _Step:
        matrix = d[:, None] * self.cov * d
        matrix.flat[:: len(d) + 1] += 1.0
        factor, _ = self.factor(matrix.T, lower=1, clean=0, overwrite_a=1)
        z, _ = self.solve(factor, gap, lower=1)
        return _Step(z, (gap - z) / d, 1, 0)


class _Modelled:
    """Newton's equation where Σ is a factor model."""

    def __init__(self, model: FactorModel) -> None:
        self.model = model

    def __call__(self, d: Array, gap: Array, _: float) -> _Step:
        z = self.model.inverse(d)(gap)
        return _Step(z, (gap - z) / d, 0, 0)


class _Iterative:
    """Newton's equation by conjugate gradients, preconditioned by a factor model of Σ.

    After a step of more than MOST_PRODUCTS the steps that follow are factored.
    """

    def __init__(self, cov: Array, press: Callable[[Array], Array], model: FactorModel) -> None:
        self.cov, self.press, self.model, self.dense = cov, press, model, False

    def __call__(self, d: Array, gap: Array, accuracy: float) -> _Step:
        if self.dense:
            return _Dense(self.cov)(d, gap, accuracy)
        step = self._conjugate_gradients(d, gap, accuracy)
        self.dense = step.products >= MOST_PRODUCTS
        return step

    def _conjugate_gradients(self, d: Array, gap: Array, accuracy: float) -> _Step:
        lean = self.model.inverse(d) if self.model.loadings.shape[1] > 1 else np.copy
        z, pressed, rest, products = np.zeros_like(gap), np.zeros_like(gap), gap, 0
        direction = leaned = lean(rest)
        power = first = float(rest @ leaned)
        for _ in range(MOST_PRODUCTS):
            image = self.press(d * direction)
            turned = direction + d * image
            t = power / float(direction @ turned)
            products += 1
            z, pressed, rest = z + t * direction, pressed + t * image, rest - t * turned
            leaned = lean(rest)
            last, power = power, float(rest @ leaned)
            if power <= accuracy**2 * first:
                break
            direction = leaned + (power / last) * direction
        return _Step(z, pressed, 0, products)
