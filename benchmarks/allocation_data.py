"""Seeded markets for the allocation kernels: what every method receives, made without any data on disk.

    r_t = b f_t + s g_{t, sector} + e_t,    f, g, e ~ Student-t(5) scaled to unit variance,

one market and eight sector factors, lognormal residual volatilities. `LS`: every fourth stream is a short
(its return is negated); `LO`: none. Rows: 1'w = 1, 0 ≤ w ≤ max(5 %, 3/N), eight group caps of 25 %, on LS
also |β'w| ≤ 0.15. The adversarial set is what a solver dislikes: group caps that leave 2 % of room,
T < N, and a quarter of the streams being copies of others up to a thousandth.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quantctl.allocation import Group, Problem, condition_correlation, estimate_covariance

Array = NDArray[np.float64]
Side = Literal["LO", "LS"]

BARS = 750
PER_YEAR = 365
SECTORS = 8
SEEDS = (11, 23, 47)
KAPPA = 5000.0
ADVERSARIAL = 101
STEP = 21
GROUP_CAP = 0.25
TIGHT = 1.02 / SECTORS


@dataclass(frozen=True)
class Case:
    """One allocation, the same for every method.

    returns : ndarray (T, N) per bar;  cov, corr : (N, N), annual and unit diagonal, conditioned
    mu, beta : (N,);  `tolerance` of |β'w|, null on LO;  cap : largest weight;  members : bool (8, N)
    group_cap : largest weight of a group;  previous : (N,) weights before, sum 1
    hard : the adversarial set;  before : the window 21 bars earlier, where a warm start comes from
    """

    label: str
    returns: Array
    cov: Array
    corr: Array
    mu: Array
    beta: Array
    tolerance: float | None
    cap: float
    members: NDArray[np.bool_]
    group_cap: float
    previous: Array
    hard: bool = False
    before: Case | None = None

    @property
    def size(self) -> int:
        """Number of streams N."""
        return int(self.cov.shape[0])

    @property
    def mean_variance(self) -> float:
        """m = tr Σ / N, the unit of risk penalties."""
        return float(np.trace(self.cov)) / self.size

    @property
    def vol(self) -> Array:
        """Annual volatilities s."""
        return np.sqrt(np.diag(self.cov))

    @property
    def rows(self) -> tuple[Array, Array]:
        """G and h of G w ≤ h, as the peers take them."""
        matrix, limit = self.members.astype(np.float64), np.full(SECTORS, self.group_cap)
        if self.tolerance is None:
            return matrix, limit
        both = np.vstack([matrix, self.beta, -self.beta])
        return both, np.concatenate([limit, [self.tolerance, self.tolerance]])

    def problem(self, **changes: Any) -> Problem:
        """The case as our kernels take it."""
        fields: dict[str, Any] = {
            "cov": self.cov, "mu": self.mu, "upper": np.full(self.size, self.cap),
            "groups": tuple(Group(f"s{k}", row, max=self.group_cap) for k, row in enumerate(self.members)),
        }  # fmt: skip
        if self.tolerance is not None:
            fields |= {"beta": self.beta, "beta_tol": self.tolerance}
        return Problem(**(fields | changes))

    def without_beta(self) -> Case:
        """The same case without its beta row, for the profiles that refuse one."""
        return replace(self, tolerance=None)


def digest(arrays: tuple[Array, ...]) -> str:
    """First 16 hex digits over dtype, shape and values of the arrays."""
    seal = hashlib.sha256()
    for array in arrays:
        seal.update(f"{array.dtype}{array.shape}".encode())
        seal.update(np.ascontiguousarray(array).tobytes())
    return seal.hexdigest()[:16]


def market(size: int, bars: int, seed: int, side: Side) -> tuple[Array, Array]:
    """Returns (T, N) of the streams and (T,) of the market."""
    rng = np.random.default_rng([seed, size])

    def student(*shape: int) -> Array:
        return rng.standard_t(5, shape) * np.sqrt(3.0 / 5.0)

    factor = 0.0004 + 0.01 * student(bars)
    sectors = 0.006 * student(bars, SECTORS)
    loads, sector_loads = rng.uniform(0.6, 1.4, size), rng.uniform(0.4, 1.2, size)
    residual = rng.lognormal(np.log(0.015), 0.4, size) * student(bars, size)
    drift = rng.normal(0.0, 0.0004, size)
    streams = drift + factor[:, None] * loads + sectors[:, sector_of(size)] * sector_loads + residual
    if side == "LS":
        streams[:, 3::4] *= -1.0
    return np.ascontiguousarray(streams), factor


def sector_of(size: int) -> NDArray[np.int64]:
    """Sector of each stream: eight blocks."""
    return np.arange(size) * SECTORS // size


def case(size: int, side: Side, seed: int) -> Case:
    """A benign case of T = 750 bars."""
    return _case(f"N={size} T={BARS} {side} seed {seed}", *market(size, BARS, seed, side), side, GROUP_CAP)


def consecutive(size: int, side: Side, seed: int) -> Case:
    """A benign case that knows the window before."""
    return _after(f"N={size} T={BARS} {side} seed {seed}, warm", *market(size, BARS + STEP, seed, side), side)


def adversarial(size: int, side: Side, seed: int = ADVERSARIAL, *, before: bool = False) -> Case:
    """Tight groups, T < N and near-duplicates at once."""
    bars = max(16, size // 2)
    streams, factor = market(size, bars + STEP, seed, side)
    noise = np.random.default_rng([seed, size, 1]).standard_normal(streams.shape)
    copies = np.arange(4, size, 8)
    # A long's copy is a long, so that LS keeps its shorts.
    streams[:, copies] = streams[:, copies - 4] + 1e-5 * noise[:, copies]
    label = f"N={size} T={bars} {side} adversarial"
    made = _after(label, streams, factor, side, TIGHT)
    return replace(made, hard=True, before=made.before if before else None)


def _after(label: str, streams: Array, factor: Array, side: Side, group_cap: float = GROUP_CAP) -> Case:
    """The window of all but the first `STEP` bars, and the one before it."""
    earlier = _case(f"{label}, before", streams[:-STEP], factor[:-STEP], side, group_cap)
    return replace(_case(label, streams[STEP:], factor[STEP:], side, group_cap), before=earlier)


def _case(label: str, streams: Array, factor: Array, side: Side, group_cap: float) -> Case:
    size, streams = streams.shape[1], np.ascontiguousarray(streams)
    estimate = estimate_covariance(streams)
    corr = condition_correlation(estimate.corr, KAPPA).corr
    centred = factor - factor.mean()
    beta = (streams - streams.mean(axis=0)).T @ centred / float(centred @ centred)
    return Case(
        label, streams, PER_YEAR * corr * np.outer(estimate.vol, estimate.vol), corr,
        PER_YEAR * streams.mean(axis=0), beta, 0.15 if side == "LS" else None, max(0.05, 3.0 / size),
        sector_of(size) == np.arange(SECTORS)[:, None], group_cap, np.full(size, 1.0 / size),
    )  # fmt: skip
