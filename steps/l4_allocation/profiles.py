"""What a risk profile asks: its problem, its penalties, its beta row and, for `adaptive`, its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.steps.l4_allocation.kernels.caps import Caps, cluster_groups
from quantctl.steps.l4_allocation.kernels.engine import NATIVE, Engine, reference_engine
from quantctl.steps.l4_allocation.kernels.equal_risk import lower_bound_refused
from quantctl.steps.l4_allocation.kernels.problem import Problem
from quantctl.steps.l4_allocation.kernels.risk_model import RiskModel

Array = NDArray[np.float64]

BASELINES = ("equal_weight", "market", "benchmark")
UNCAPPED = ("equal_weight", "benchmark")
RISK_BUDGETS = ("erc", "risk_parity", "risk_budget")
PENALISED = ("min_variance", "market_neutral", "max_sharpe", "mean_variance", "min_cvar")
KEEP_ALL = ("caps", "clusters", "beta")
SHARPE_RIDGE = 0.10
MIN_ANTIFRAGILITY_BARS = 100
MIN_ADAPTIVE_BARS = 30


@dataclass(frozen=True)
class Setting:
    """What all profiles of one window share.

    base : the problem without bounds above 1, groups, beta row and penalties
    labels : cluster id per atom; caps : effective caps
    beta : ndarray (N,) or null where no profile has a beta row
    scores : antifragility (N,), or null below 100 bars
    returns : ndarray (T, N), simple returns per bar
    previous : previous weights (N,) or null; `exit_turnover` is the previous weight of vanished atoms
    layers : clusters as variables, where `allocation.structure` is two_layer
    """

    base: Problem
    labels: tuple[str, ...]
    caps: Caps
    beta: Array | None
    scores: Array | None
    regime: str
    quadrant: str
    settings: AllocationSettings
    engine: Engine = NATIVE
    returns: Array | None = None
    previous: Array | None = None
    exit_turnover: float = 0.0
    layers: Layers | None = None

    @property
    def bars(self) -> int:
        """T, or 0 where returns are not known."""
        return 0 if self.returns is None else len(self.returns)


@dataclass(frozen=True)
class Layers:
    """The upper layer of `two_layer`.

    intra : ndarray (K, N), weights within each cluster; rows sum to 1
    model : risk model of the K cluster streams; setting : what profiles across clusters share
    """

    intra: Array
    model: RiskModel
    setting: Setting


def check_available(settings: AllocationSettings) -> None:
    """Refuse what cannot be solved whatever the data are (exit 2).

    Raises `ENGINE_UNAVAILABLE` where the engine asked for is not installed, and `ERC_LOWER_BOUND` where a
    risk-budget profile is asked for beside a positive `weight_min`.
    """
    if settings.engine == "cvxpy" and find_spec("cvxpy") is None:
        raise ConfigError(
            "ENGINE_UNAVAILABLE", "allocation.engine cvxpy needs cvxpy, which is not installed",
            where="allocation.engine", remedy="install cvxpy or set allocation.engine to native",
        )  # fmt: skip
    if settings.weight_min > 0.0 and set(RISK_BUDGETS) & set(settings.risk_profiles):
        raise lower_bound_refused()


def engine_of(settings: AllocationSettings) -> Engine:
    """The rungs of `allocation.engine`; one object per window, since it keeps what it compiled."""
    return NATIVE if settings.engine == "native" else reference_engine()


def target_of(profile: str, settings: AllocationSettings, quadrant: str, bars: int) -> str:
    """The profile that is solved under the name `profile`: itself, but for `adaptive` that of the quadrant.

    Below 30 bars, or in a quadrant without an entry, `adaptive` is its declared fallback.
    """
    if profile != "adaptive":
        return profile
    if bars < MIN_ADAPTIVE_BARS:
        return settings.adaptive.fallback
    return settings.adaptive.map.get(quadrant, settings.adaptive.fallback)


def has_beta_row(profile: str, settings: AllocationSettings) -> bool:
    """Whether `profile`, already a target, has a beta row."""
    return profile == "market_neutral" or profile in settings.beta.apply_to


def problem_of(profile: str, setting: Setting, keep: Sequence[str] = KEEP_ALL) -> Problem:
    """The problem of `profile` with the constraints of `keep`, its penalties and its beta row.

    `market_neutral` keeps its row whatever `keep` says: without it, it would be `min_variance`.
    """
    settings = setting.settings
    if profile in UNCAPPED:
        return setting.base
    kept_beta = "beta" in keep or profile == "market_neutral"
    traded = profile in PENALISED and setting.previous is not None and settings.turnover > 0.0
    return replace(
        setting.base,
        lower=np.full(setting.base.size, settings.weight_min),
        upper=np.minimum(setting.caps.weights, 1.0) if "caps" in keep else None,
        groups=cluster_groups(setting.labels, setting.caps.cluster) if "clusters" in keep else (),
        beta=setting.beta if has_beta_row(profile, settings) and kept_beta else None,
        beta_tol=settings.beta.tolerance,
        l2=_ridge(profile, setting),
        turnover=settings.turnover if traded else 0.0,
        w_prev=setting.previous if traded else None,
        exit_turnover=setting.exit_turnover if traded else 0.0,
    )


def is_ratio(profile: str, settings: AllocationSettings) -> bool:
    """Whether `profile` maximises the Sharpe ratio."""
    neutral = profile == "market_neutral" and settings.market_neutral.objective == "max_sharpe"
    return profile == "max_sharpe" or neutral


def split_budgets(budgets: dict[str, float], names: Sequence[str], labels: Sequence[str]) -> Array:
    """Budgets per atom; a cluster's budget is split equally over its members.

    Raises `BUDGET_MISSING` (exit 2) where an atom has none.
    """
    values = np.zeros(len(names))
    for i, (name, label) in enumerate(zip(names, labels, strict=True)):
        if name not in budgets and label not in budgets:
            raise ConfigError(
                "BUDGET_MISSING", f"no risk budget for atom {name} or its cluster {label}",
                where="allocation.budgets", remedy=f"add {name} or {label} to allocation.budgets",
            )  # fmt: skip
        values[i] = budgets[name] if name in budgets else budgets[label] / labels.count(label)
    return values


def _ridge(profile: str, setting: Setting) -> float:
    """γ of the quadrant; a ratio takes at least 0.10, profiles without a penalty 0."""
    if profile not in PENALISED:
        return 0.0
    ridge = setting.settings.l2_by_quadrant[setting.quadrant]
    return max(ridge, SHARPE_RIDGE) if is_ratio(profile, setting.settings) else ridge
