"""Allocation: risk profiles, risk model, caps, solver and fallbacks."""

from __future__ import annotations

from math import fsum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from quantctl.contracts.settings.section import (
    AtLeastOne,
    Finite,
    Fraction,
    NonNegative,
    Positive,
    Section,
    one_of,
    refusal,
)  # fmt: skip
from quantctl.contracts.settings.selection import ClusterSettings

RISK_PROFILES = (
    "equal_weight", "min_variance", "max_sharpe", "mean_variance", "max_diversification", "erc",
    "risk_parity", "risk_budget", "hrp", "herc", "min_cvar", "market_neutral", "barbell", "adaptive",
    "market", "benchmark",
)  # fmt: skip
BETA_REFUSED = ("erc", "risk_parity", "risk_budget", "hrp", "herc", "barbell")
BETA_IDLE = ("adaptive", "equal_weight", "market", "benchmark")
QUADRANTS = ("NORMAL", "EXPANSION", "INFLATIONARY_TREND", "STAGNATION", "CRISIS")
REGIMES = ("QUIET", "NORMAL", "TURBULENT", "CRISIS")
RiskProfile = Annotated[str, one_of("RISK_PROFILE_UNKNOWN", "risk profile", RISK_PROFILES)]
Quadrant = Annotated[str, one_of("CONFIG_RANGE", "quadrant", QUADRANTS)]
Regime = Annotated[str, one_of("CONFIG_RANGE", "regime", REGIMES)]


def _replacement(profile: str) -> str:
    if profile in ("adaptive", "market"):
        raise refusal("CONFIG_RANGE", f"{profile} stands for other holdings: it cannot replace a profile")
    return profile


Replacement = Annotated[RiskProfile, AfterValidator(_replacement)]


class CovarianceSettings(Section):
    """`allocation.covariance.*`: the estimator."""

    method: Literal["ledoit_wolf", "oas", "sample", "graphical_lasso", "min_cov_det", "shrunk"] = Field(
        "ledoit_wolf", description="Covariance estimator."
    )
    options: dict[str, Any] = Field({}, description="Parameters of the scikit-learn estimators.")


class BetaSettings(Section):
    """`allocation.beta.*`: the beta row."""

    benchmark: str | None = Field(
        None, description="Benchmark symbol; null: the first of backtest.benchmark_symbols."
    )
    tolerance: Annotated[float, Field(gt=0, le=1)] = Field(
        0.15, description="Largest absolute portfolio beta."
    )
    apply_to: tuple[RiskProfile, ...] = Field(
        ("market_neutral",), description="Risk profiles with a beta row."
    )
    waiver: str | None = Field(None, description="Reason for a tolerance above 0.15; it is ledgered.")

    @field_validator("apply_to")
    @classmethod
    def _supported(cls, profiles: tuple[str, ...]) -> tuple[str, ...]:
        for profile in profiles:
            if profile in BETA_REFUSED:
                raise refusal(
                    "BETA_UNSUPPORTED_FOR_PROFILE", f"a beta row would destroy what {profile} promises"
                )
            if profile in BETA_IDLE:
                why = "has the beta row of its target" if profile == "adaptive" else "is not optimised"
                raise refusal("BETA_UNSUPPORTED_FOR_PROFILE", f"{profile} {why}: it takes no beta row")
        return profiles

    @model_validator(mode="after")
    def _waived(self) -> BetaSettings:
        if self.tolerance > 0.15 and not self.waiver:
            raise refusal("CONFIG_RANGE", f"beta.tolerance {self.tolerance} > 0.15 needs a beta.waiver")
        return self


class HrpSettings(Section):
    """`allocation.hrp.*`: the hierarchical tree."""

    distance: Literal["direct", "euclidean"] = Field("direct", description="Distance of streams.")
    linkage: Literal["ward", "single", "average", "complete"] = Field(
        "ward", description="Linkage of the tree."
    )
    leaf_order: Literal["dendrogram", "optimal"] = Field("dendrogram", description="Order of the leaves.")
    split_risk: Literal["variance", "stdev"] = Field("variance", description="Risk that splits a branch.")


class BarbellSettings(Section):
    """`allocation.barbell.*`: aggressors and core."""

    max_aggressor_clusters: AtLeastOne = Field(5, description="Most aggressor clusters.")
    aggressor_weight: Fraction = Field(0.10, description="Aggressor share in an unknown regime.")
    share_by_regime: dict[Regime, Fraction] = Field(
        {"QUIET": 0.15, "NORMAL": 0.10, "TURBULENT": 0.05, "CRISIS": 0.03},
        description="Regime to aggressor share.",
    )
    min_core: AtLeastOne = Field(10, description="Atoms from which the core is hrp instead of equal weight.")


class AdaptiveSettings(Section):
    """`allocation.adaptive.*`: the profile by quadrant."""

    map: dict[Quadrant, Replacement] = Field(
        {
            "EXPANSION": "max_sharpe",
            "NORMAL": "max_sharpe",
            "INFLATIONARY_TREND": "barbell",
            "STAGNATION": "min_variance",
            "CRISIS": "hrp",
        },
        description="Quadrant to risk profile.",
    )
    fallback: Replacement = Field("erc", description="Risk profile below 30 bars or in an unknown quadrant.")

    def targets(self) -> set[str]:
        """All profiles that `adaptive` may stand for."""
        return {*self.map.values(), self.fallback}


class MarketNeutralSettings(Section):
    """`allocation.market_neutral.*`: what the neutral profile minimises."""

    objective: Literal["min_variance", "max_sharpe"] = Field(
        "min_variance", description="Objective under the beta row."
    )


class Fallback(Section):
    """One entry of `allocation.fallback`."""

    profile: Replacement = Field(description="Risk profile that is tried.")
    keep: tuple[Literal["caps", "clusters", "beta"], ...] = Field(
        ("caps", "clusters"), description="Constraints that it keeps."
    )

    @model_validator(mode="after")
    def _keeps_what_it_can(self) -> Fallback:
        if "beta" in self.keep and self.profile in BETA_REFUSED:
            raise refusal(
                "BETA_UNSUPPORTED_FOR_PROFILE", f"a beta row would destroy what {self.profile} promises"
            )
        return self


class AllocationSettings(Section):
    """`allocation.*`: risk profiles, risk model, caps, solver and fallbacks."""

    risk_profiles: tuple[RiskProfile, ...] = Field(
        ("hrp", "min_variance", "max_sharpe", "erc", "equal_weight", "barbell", "market", "benchmark"),
        min_length=1,
        description="Risk profiles that are solved.",
    )
    primary_risk_profile: RiskProfile = Field("hrp", description="Risk profile that the reports lead with.")
    engine: Literal["cvxpy", "native"] = Field(
        "native", description="Own kernels, or the readable reference formulations."
    )
    structure: Literal["flat", "two_layer"] = Field(
        "flat", description="Atoms as variables, or clusters first."
    )
    fallback: tuple[Fallback, ...] = Field(
        (Fallback(profile="erc", keep=("caps", "clusters")),),
        description="Tried in order after a failure; [] for none.",
    )
    scarcity_fallback: Replacement = Field(
        "erc", description="Risk profile of a sleeve below the winner floor."
    )
    covariance: CovarianceSettings = Field(
        default_factory=CovarianceSettings, description="The covariance estimator."
    )
    kappa_max: Annotated[float, Field(gt=1, le=5000)] = Field(5000, description="Largest condition number.")
    ridge_floor: Fraction = Field(0.0, description="Least conditioning intensity.")
    cluster_cap: Annotated[float, Field(gt=0, le=1)] = Field(0.25, description="Largest weight of a cluster.")
    weight_max: Annotated[float, Field(gt=0, le=1)] = Field(0.25, description="Largest weight of an atom.")
    weight_min: Fraction = Field(0.0, description="Least weight of an atom.")
    min_obs: Annotated[int, Field(ge=2)] = Field(20, description="Fewest rows of the window, in bars.")
    clusters: ClusterSettings = Field(
        default_factory=ClusterSettings,
        description="Clusters of synthetic streams; default: selection.clusters.",
    )
    beta: BetaSettings = Field(default_factory=BetaSettings, description="The beta row.")
    hrp: HrpSettings = Field(default_factory=HrpSettings, description="The hierarchical tree.")
    barbell: BarbellSettings = Field(default_factory=BarbellSettings, description="Aggressors and core.")
    adaptive: AdaptiveSettings = Field(
        default_factory=AdaptiveSettings, description="The profile by quadrant."
    )
    market_neutral: MarketNeutralSettings = Field(
        default_factory=MarketNeutralSettings, description="The neutral profile."
    )
    l2_by_quadrant: dict[Quadrant, NonNegative] = Field(
        {"NORMAL": 0.05, "EXPANSION": 0.05, "INFLATIONARY_TREND": 0.10, "STAGNATION": 0.10, "CRISIS": 0.20},
        description="Quadrant to ridge penalty, in units of the mean variance.",
    )
    turnover: NonNegative = Field(
        0.001,
        description="Price of a unit traded against previous_weights, under features.feat_turnover_penalty.",
    )
    previous_weights: dict[str, NonNegative] | None = Field(
        None, description="Atom id to the weight it had before; null: nothing is held."
    )
    risk_free: Finite = Field(0.0, description="Risk-free rate, per year.")
    allow_all_cash: bool = Field(False, description="Whether a portfolio may be all gated cash.")
    cash: Literal["none", "allowed"] = Field("none", description="Whether weights may sum to less than 1.")
    cash_min_exposure: Fraction = Field(0.20, description="Least exposure where cash is allowed.")
    risk_aversion: Positive = Field(1.0, description="Risk aversion of mean_variance.")
    cvar_level: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.95, description="Level of the expected shortfall."
    )
    budgets: dict[str, NonNegative] | None = Field(None, description="Atom or cluster id to its risk budget.")
    accept_reduced: bool = Field(True, description="Accept results of reduced accuracy, with a warning.")
    strict_stability: bool = Field(True, description="Weight-file differences are errors, not warnings.")

    @model_validator(mode="after")
    def _consistent(self) -> AllocationSettings:
        if self.weight_min > self.weight_max:
            raise refusal("CONFIG_RANGE", "allocation.weight_min is above allocation.weight_max")
        if "risk_budget" in self._asked() and not self.budgets:
            raise refusal("BUDGET_MISSING", "risk profile risk_budget needs allocation.budgets")
        held = fsum((self.previous_weights or {}).values())
        if held > 1.0 + 1e-9:
            raise refusal("CONFIG_RANGE", f"allocation.previous_weights sum to {held:.9g} > 1")
        return self

    def _asked(self) -> set[str]:
        """Profiles that may be solved: those of the list, their replacements, targets of `adaptive`."""
        asked = {*self.risk_profiles, self.scarcity_fallback, *(entry.profile for entry in self.fallback)}
        return asked | self.adaptive.targets() if "adaptive" in asked else asked

    @field_validator("l2_by_quadrant")
    @classmethod
    def _every_quadrant(cls, ridges: dict[str, float]) -> dict[str, float]:
        missing = [name for name in QUADRANTS if name not in ridges]
        if missing:
            raise refusal("CONFIG_RANGE", f"allocation.l2_by_quadrant has no entry for {', '.join(missing)}")
        return ridges
