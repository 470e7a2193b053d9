"""The common form of the quadratic profiles, which the solvers of every rung share.

    additive:  min ½ w'Qw − g'w + c‖w − w₀‖₁
    ratio:     max (g'w − c(‖w − w₀‖₁ + v)) / √(w'Qw)          over 1'w = 1, l ≤ w ≤ u, G w ≤ h

with Q = scale·Σ + ridge·I. Σ is the caller's matrix, never copied: scale and ridge carry the units of
`scaling.py`, so Q, g and c are of order one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.kkt import Multipliers

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Program:
    """Data of one quadratic program over N names with R rows; see the module's formulas.

    cov : ndarray (N, N), Σ; `scale` > 0 and `ridge` ≥ 0 make Q of it
    gain : ndarray (N,), g; zeros where the objective has no linear term
    ratio : which of the two forms
    lower, upper : ndarrays (N,);  rows : ndarray (R, N), G;  limit : ndarray (R,), h
    kink : c ≥ 0;  previous : ndarray (N,), w₀, or null where c = 0;  exit_turnover : v ≥ 0
    """

    cov: Array
    scale: float
    ridge: float
    gain: Array
    ratio: bool
    lower: Array
    upper: Array
    rows: Array
    limit: Array
    kink: float = 0.0
    previous: Array | None = None
    exit_turnover: float = 0.0

    @property
    def size(self) -> int:
        """Number of names N."""
        return int(self.cov.shape[0])

    def press(self, weights: Array) -> Array:
        """Q w. O(N²)."""
        return self.scale * (self.cov @ weights) + self.ridge * weights


@dataclass(frozen=True)
class Optimum:
    """What a solver claims: a point, its multipliers in the convention of `check_kkt`, and its work.

    outcome : the solver's own word, `optimal` where it believes in its point; `weights` and
        `multipliers` are null where it has none
    """

    outcome: str
    iterations: int
    factorisations: int
    weights: Array | None = None
    multipliers: Multipliers | None = None
