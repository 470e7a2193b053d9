"""Two atoms: one weight decides, w = (a, 1 − a), so the optimum is the optimum of a parabola, clipped.

    additive:  a = (q₂₂ − q₁₂ + g₁ − g₂) / (q₁₁ − 2q₁₂ + q₂₂)
    ratio:     w ∝ Q⁻¹g, i.e. a = (q₂₂g₁ − q₁₂g₂) / (q₂₂g₁ − q₁₂g₂ + q₁₁g₂ − q₁₂g₁)

A ratio rises up to its optimum and falls behind it, so clipping holds for it too, where the denominator
of a is positive. A kink or an active row is left to the other rungs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.kkt import Multipliers
from quantctl.steps.l4_allocation.kernels.program import Optimum, Program

Array = NDArray[np.float64]


def two_atoms(program: Program) -> Optimum | None:
    """The optimum, or null where the formula does not apply."""
    if program.kink or program.size != 2:
        return None
    low = max(float(program.lower[0]), 1.0 - float(program.upper[1]))
    high = min(float(program.upper[0]), 1.0 - float(program.lower[1]))
    first = _unbounded(program)
    if first is None or low > high:
        return None
    share = min(max(first, low), high)
    weights = np.array([share, 1.0 - share])
    if (program.rows @ weights > program.limit).any():
        return None
    return Optimum("optimal", 0, 0, weights, _multipliers(program, weights))


def _unbounded(program: Program) -> float | None:
    corner = program.scale * program.cov
    q11, q22 = float(corner[0, 0]) + program.ridge, float(corner[1, 1]) + program.ridge
    q12, (g1, g2) = float(corner[0, 1]), program.gain.tolist()
    if not program.ratio:
        bend = q11 - 2.0 * q12 + q22
        return (q22 - q12 + g1 - g2) / bend if bend > 0.0 else None
    first, second = q22 * g1 - q12 * g2, q11 * g2 - q12 * g1
    return first / (first + second) if first + second > 0.0 else None


def _multipliers(program: Program, weights: Array) -> Multipliers:
    """The budget's from one name, what is left over from the bound of the other: of both the valid choice."""
    pressed = program.press(weights)
    gradient = pressed - program.gain
    if program.ratio:
        gradient = pressed / float(weights @ pressed) - program.gain / float(program.gain @ weights)
    below, above = weights - program.lower, program.upper - weights

    def left_over(level: float) -> tuple[Array, Array]:
        left = gradient - level
        return np.where(below <= above, left, 0.0), np.where(below <= above, 0.0, -left)

    def slack(level: float) -> float:
        """Complementarity of the choice, infinite where a multiplier would be negative."""
        lower, upper = left_over(level)
        valid = float(np.minimum(lower, upper).min()) >= 0.0
        return float((lower + upper) @ np.minimum(below, above)) if valid else np.inf

    level = float(gradient[int(np.argmin([slack(each) for each in gradient]))])
    lower, upper = (np.maximum(each, 0.0) for each in left_over(level))
    return Multipliers(-level, lower, upper, np.zeros(len(program.limit)), 0.0)
