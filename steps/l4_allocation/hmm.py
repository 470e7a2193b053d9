"""Two-state hidden Markov model of volatility, fitted by expectation maximisation without randomness.

Zero-mean Gaussians N(0, sigma_k^2), transition matrix T and start pi (features page, section 10). It is
accepted only where persistence is proven: it must beat one Gaussian and an iid scale mixture by BIC.
The recursion runs on plain floats: for two states and a few hundred rows that is the fastest form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
State = Literal["CRISIS", "QUIET", "NORMAL"]

MIN_ROWS = 40
SPLIT_QUANTILE = 0.70
MAX_ITERATIONS = 100
GAIN = 1e-6
SIGMA_FLOOR = 1e-3
TRANSITION_FLOOR = 1e-4
LEAST_RATIO = 1.5
SINGLE_MARGIN, MIXTURE_MARGIN = 6.0, 2.0
LEAST_STAY = 0.80
LEAST_OCCUPANCY = 8.0
HIGH, LOW = 0.8, 0.2


@dataclass(frozen=True)
class HmmReading:
    """What the model says of the last bar.

    reason : the first acceptance test that failed, null when accepted
    sigma_lo, sigma_hi : standard deviations per bar; p_hi : posterior of the high state at the last bar
    trans : rows of T, low state first
    """

    state: State
    accepted: bool
    reason: str | None
    sigma_lo: float | None = None
    sigma_hi: float | None = None
    p_hi: float | None = None
    bic1: float | None = None
    bic_mix: float | None = None
    bic_hmm: float | None = None
    trans: tuple[tuple[float, float], tuple[float, float]] | None = None


@dataclass(frozen=True)
class _Fit:
    """A fitted model: variances and posteriors in the order of its start (low, high)."""

    variances: tuple[float, float]
    posterior: Floats  # (n, 2)
    trans: tuple[tuple[float, float], tuple[float, float]]
    loglik: float
    converged: bool


def read_hmm(returns: Floats) -> HmmReading:
    """Fit y = m - median(m) and read the state of the last bar.

    returns : (n,) market returns m, decimal fractions per bar

    CRISIS where the accepted model gives the high state at least 0.8, QUIET at most 0.2, else NORMAL.
    """
    if len(returns) < MIN_ROWS:
        return HmmReading("NORMAL", False, "HMM_TOO_SHORT")
    y = returns - np.median(returns)
    spread = float(np.std(y))
    start = _start(y)
    if spread <= 0.0 or start is None:
        return HmmReading("NORMAL", False, "HMM_CONSTANT")
    floor = (SIGMA_FLOOR * spread) ** 2
    squares = y * y
    chain = _fit_chain(squares, start, floor)
    mixture = _fit_mixture(squares, start, floor)
    return _reading(squares, chain, mixture)


def _start(y: Floats) -> tuple[float, float] | None:
    """Mean squares below and above the 0.70 quantile of abs(y); null where a side is empty or zero."""
    size = np.abs(y)
    high = size > np.quantile(size, SPLIT_QUANTILE)
    if not high.any() or not (size[~high] > 0.0).any():
        return None
    return float(np.mean(y[~high] ** 2)), float(np.mean(y[high] ** 2))


def _reading(squares: Floats, chain: _Fit, mixture_loglik: float) -> HmmReading:
    n = len(squares)
    order = (0, 1) if chain.variances[0] <= chain.variances[1] else (1, 0)
    lo, hi = (math.sqrt(chain.variances[k]) for k in order)
    trans = tuple(tuple(chain.trans[i][j] for j in order) for i in order)
    posterior = chain.posterior[:, order]
    single = -0.5 * n * (math.log(2 * math.pi * float(np.mean(squares))) + 1.0)
    bic1, bic_mix, bic_hmm = _bic(single, 1, n), _bic(mixture_loglik, 3, n), _bic(chain.loglik, 5, n)
    tests = {
        "HMM_NOT_CONVERGED": chain.converged,
        "HMM_SIGMA_RATIO": hi / lo >= LEAST_RATIO,
        "HMM_BIC_SINGLE": bic_hmm < bic1 - SINGLE_MARGIN,
        "HMM_BIC_MIXTURE": bic_hmm < bic_mix - MIXTURE_MARGIN,
        "HMM_PERSISTENCE": min(trans[0][0], trans[1][1]) >= LEAST_STAY,
        "HMM_OCCUPANCY": float(np.min(posterior.sum(axis=0))) >= LEAST_OCCUPANCY,
    }
    reason = next((name for name, passed in tests.items() if not passed), None)
    p_hi = float(posterior[-1, 1])
    state = _state(p_hi) if reason is None else "NORMAL"
    return HmmReading(
        state, reason is None, reason, lo, hi, p_hi, bic1, bic_mix, bic_hmm, trans  # type: ignore[arg-type]
    )  # fmt: skip


def _state(p_hi: float) -> State:
    if p_hi >= HIGH:
        return "CRISIS"
    return "QUIET" if p_hi <= LOW else "NORMAL"


def _bic(loglik: float, parameters: int, n: int) -> float:
    return parameters * math.log(n) - 2.0 * loglik


def _densities(squares: Floats, variances: tuple[float, float]) -> tuple[Floats, float]:
    """Densities (n, 2), each row divided by its larger one, and the sum of the logs divided out."""
    logs = np.stack([-0.5 * (np.log(2 * math.pi * v) + squares / v) for v in variances], axis=1)
    top = logs.max(axis=1)
    return np.exp(logs - top[:, None]), float(top.sum())


def _fit_chain(squares: Floats, start: tuple[float, float], floor: float) -> _Fit:
    """Scaled forward-backward EM (Rabiner 1989), at most 100 iterations."""
    variances = (max(start[0], floor), max(start[1], floor))
    trans = ((0.95, 0.05), (0.05, 0.95))
    pi = (0.5, 0.5)
    last = -math.inf
    for _ in range(MAX_ITERATIONS):
        dense, shift = _densities(squares, variances)
        posterior, pairs, loglik = _forward_backward(dense.tolist(), trans, pi)
        loglik += shift
        converged = loglik - last < GAIN * abs(loglik)
        if converged:
            break
        last = loglik
        pi = (float(posterior[0, 0]), float(posterior[0, 1]))
        trans = (_row(pairs[0]), _row(pairs[1]))
        variances = _weighted_variances(squares, posterior, floor)
    return _Fit(variances, posterior, trans, loglik, converged)


def _row(counts: list[float]) -> tuple[float, float]:
    total = counts[0] + counts[1]
    first = counts[0] / total if total > 0.0 else 0.5
    first = min(max(first, TRANSITION_FLOOR), 1.0 - TRANSITION_FLOOR)
    return first, 1.0 - first


def _weighted_variances(squares: Floats, posterior: Floats, floor: float) -> tuple[float, float]:
    weights = posterior.sum(axis=0)
    sums = posterior.T @ squares
    first, second = (
        max(float(s / w), floor) if w > 0.0 else floor for s, w in zip(sums, weights, strict=True)
    )
    return first, second


def _forward_backward(
    dense: list[list[float]], trans: tuple[tuple[float, float], tuple[float, float]], pi: tuple[float, float]
) -> tuple[Floats, list[list[float]], float]:
    """Posteriors (n, 2), expected transitions [2][2] and the scaled log-likelihood."""
    forward, scales, loglik = _forward(dense, trans, pi)
    (t00, t01), (t10, t11) = trans
    n = len(dense)
    b0 = b1 = 1.0
    posterior = [forward[-1]] * n
    pairs = [[0.0, 0.0], [0.0, 0.0]]
    for t in range(n - 2, -1, -1):
        (e0, e1), scale, (a0, a1) = dense[t + 1], scales[t + 1], forward[t]
        u0, u1 = e0 * b0 / scale, e1 * b1 / scale
        pairs[0][0] += a0 * t00 * u0
        pairs[0][1] += a0 * t01 * u1
        pairs[1][0] += a1 * t10 * u0
        pairs[1][1] += a1 * t11 * u1
        b0, b1 = t00 * u0 + t01 * u1, t10 * u0 + t11 * u1
        p0, p1 = a0 * b0, a1 * b1
        posterior[t] = (p0 / (p0 + p1), p1 / (p0 + p1))
    return np.array(posterior), pairs, loglik


def _forward(
    dense: list[list[float]], trans: tuple[tuple[float, float], tuple[float, float]], pi: tuple[float, float]
) -> tuple[list[tuple[float, float]], list[float], float]:
    (t00, t01), (t10, t11) = trans
    a0, a1 = pi
    forward, scales, loglik = [], [], 0.0
    for t, (e0, e1) in enumerate(dense):
        if t:
            a0, a1 = a0 * t00 + a1 * t10, a0 * t01 + a1 * t11
        a0, a1 = a0 * e0, a1 * e1
        scale = a0 + a1
        a0, a1 = a0 / scale, a1 / scale
        forward.append((a0, a1))
        scales.append(scale)
        loglik += math.log(scale)
    return forward, scales, loglik


def _fit_mixture(squares: Floats, start: tuple[float, float], floor: float) -> float:
    """Log-likelihood of the iid two-component scale mixture, fitted from the same start."""
    variances = (max(start[0], floor), max(start[1], floor))
    weights = np.array([0.5, 0.5])
    last = -math.inf
    for _ in range(MAX_ITERATIONS):
        dense, shift = _densities(squares, variances)
        joint = dense * weights
        total = joint.sum(axis=1)
        loglik = float(np.log(total).sum()) + shift
        if loglik - last < GAIN * abs(loglik):
            break
        last = loglik
        posterior = joint / total[:, None]
        weights = posterior.mean(axis=0)
        variances = _weighted_variances(squares, posterior, floor)
    return loglik
