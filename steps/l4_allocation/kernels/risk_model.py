"""The risk model of one window: which streams count, their Σ, μ and how they were conditioned.

    Σ = A · diag(s) C(a) diag(s),    μ = A · mean,

s and C from the covariance estimator, C(a) conditioned, A bars per year of the data's calendar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ContractError
from quantctl.steps.l4_allocation.kernels.conditioning import Conditioned, condition_correlation
from quantctl.steps.l4_allocation.kernels.covariance import estimate_covariance

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

DEAD = 1e-9
DUPLICATE = 1.0 - 1e-10


@dataclass(frozen=True)
class RiskModel:
    """Estimates over the N' live atoms of N.

    keep : ndarray (N,), False for an atom without variance; the arrays below have one entry per kept atom
    mu, cov : annual
    vol : per bar
    conditioned : correlation actually used, its intensity and condition numbers
    shrinkage : of the estimator
    duplicates : pairs of kept positions with |ρ| ≥ 1 − 1e-10 in the sample
    """

    keep: Mask
    mu: Array
    vol: Array
    cov: Array
    conditioned: Conditioned
    shrinkage: float
    n_obs: int
    duplicates: tuple[tuple[int, int], ...]


def estimate_risk_model(
    returns: Array,
    bars_per_year: int,
    *,
    method: str = "ledoit_wolf",
    options: dict[str, Any] | None = None,
    kappa_max: float = 5000.0,
    ridge_floor: float = 0.0,
    seed: int = 0,
) -> RiskModel:
    """Risk model of `returns`, shape (T, N), simple returns per bar.

    Raises
    ------
    ContractError : `NONFINITE_INPUT` for a value that is not finite, `DEGENERATE_INPUT` where no atom
    has a standard deviation above 1e-9 per bar
    """
    if not np.isfinite(returns).all():
        raise ContractError("NONFINITE_INPUT", "the streams hold a value that is not finite", where="returns")
    keep = returns.std(axis=0) > DEAD
    if not keep.any():
        raise ContractError("DEGENERATE_INPUT", "no stream has any variance in the window", where="returns")
    live = np.ascontiguousarray(returns[:, keep])
    estimate = estimate_covariance(live, method, options, seed)
    conditioned = condition_correlation(estimate.corr, kappa_max, floor=ridge_floor)
    scale = np.outer(estimate.vol, estimate.vol)
    return RiskModel(
        keep=keep,
        mu=bars_per_year * live.mean(axis=0),
        vol=estimate.vol,
        cov=bars_per_year * conditioned.corr * scale,
        conditioned=conditioned,
        shrinkage=estimate.intensity,
        n_obs=live.shape[0],
        duplicates=_duplicates(live),
    )


def _duplicates(live: Array) -> tuple[tuple[int, int], ...]:
    if live.shape[1] == 1:
        return ()
    corr = np.corrcoef(live, rowvar=False)
    first, second = np.nonzero(np.triu(np.abs(corr) >= DUPLICATE, 1))
    return tuple(zip(first.tolist(), second.tolist(), strict=True))
