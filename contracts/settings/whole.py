"""The settings as a whole, with the rules that span sections."""

from __future__ import annotations

from pydantic import Field, model_validator

from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.backtest import BacktestSettings
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.settings.discovery import DiscoverySettings
from quantctl.contracts.settings.feature_store import FeatureStoreSettings
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.governance import GovernanceSettings
from quantctl.contracts.settings.htr import HtrSettings
from quantctl.contracts.settings.mps import MpsSettings
from quantctl.contracts.settings.notify import NotifySettings
from quantctl.contracts.settings.orchestration import OrchestrationSettings
from quantctl.contracts.settings.paths import PathsSettings
from quantctl.contracts.settings.perf import PerfSettings
from quantctl.contracts.settings.ranking import RankingSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.contracts.settings.regime import RegimeSettings
from quantctl.contracts.settings.report import ReportSettings
from quantctl.contracts.settings.schedule import ScheduleSettings
from quantctl.contracts.settings.section import Section, refusal
from quantctl.contracts.settings.selection import SelectionSettings
from quantctl.contracts.settings.sleeve import SleeveSettings
from quantctl.contracts.settings.synthesis import SynthesisSettings
from quantctl.contracts.settings.universe import UniverseSettings

# A key that follows another one when it is not given: follower prefix to leader prefix.
FOLLOWERS: dict[str, str] = {
    "data.strict_candidates": "data.strict",
    "data.freshness.alpha_action": "data.strict",
    "allocation.clusters": "selection.clusters",
    "allocation.beta.benchmark": "backtest.benchmark_symbols",
}


class Settings(Section):
    """All sections; `followed` fills the keys that follow another key."""

    sleeve: SleeveSettings = Field(default_factory=SleeveSettings, description="What the sleeve may hold.")
    data: DataSettings = Field(default_factory=DataSettings, description="Bars, health and DataOps.")
    universe: UniverseSettings = Field(
        default_factory=UniverseSettings, description="Which symbols may be candidates."
    )
    discovery: DiscoverySettings = Field(default_factory=DiscoverySettings, description="Scanners.")
    features: FeaturesSettings = Field(
        default_factory=FeaturesSettings, description="Feature parameters and flags."
    )
    feature_store: FeatureStoreSettings = Field(
        default_factory=FeatureStoreSettings, description="Origin of features."
    )
    ratings: RatingsSettings = Field(default_factory=RatingsSettings, description="How votes become ratings.")
    selection: SelectionSettings = Field(
        default_factory=SelectionSettings, description="Filters and recruitment."
    )
    htr: HtrSettings = Field(default_factory=HtrSettings, description="The relaxation ladder.")
    ranking: RankingSettings = Field(default_factory=RankingSettings, description="Order of candidates.")
    mps: MpsSettings = Field(default_factory=MpsSettings, description="Weights of the score.")
    regime: RegimeSettings = Field(default_factory=RegimeSettings, description="The regime detector.")
    synthesis: SynthesisSettings = Field(default_factory=SynthesisSettings, description="Atoms into streams.")
    allocation: AllocationSettings = Field(default_factory=AllocationSettings, description="Weights.")
    backtest: BacktestSettings = Field(
        default_factory=BacktestSettings, description="Windows, costs and gates."
    )
    orchestration: OrchestrationSettings = Field(
        default_factory=OrchestrationSettings, description="Resources."
    )
    schedule: ScheduleSettings = Field(
        default_factory=ScheduleSettings, description="When a profile runs by itself."
    )
    notify: NotifySettings = Field(
        default_factory=NotifySettings, description="Who is told of the end of a run."
    )
    governance: GovernanceSettings = Field(default_factory=GovernanceSettings, description="Signing.")
    paths: PathsSettings = Field(default_factory=PathsSettings, description="Where things lie.")
    perf: PerfSettings = Field(default_factory=PerfSettings, description="Time budgets.")
    report: ReportSettings = Field(default_factory=ReportSettings, description="The forensic report.")

    @model_validator(mode="after")
    def _across_sections(self) -> Settings:
        for code, problem in conflicts(self):
            raise refusal(code, problem)
        return self


def conflicts(settings: Settings) -> list[tuple[str, str]]:
    """Contradictions between sections, as (code, sentence); empty when there are none."""
    direction = settings.sleeve.direction
    found = []
    if direction != "LONG" and not settings.features.feat_directional_sign_test_gate_atomic:
        found.append(("SIGN_GATE_REQUIRED", f"the sign test of a {direction} sleeve cannot be turned off"))
    if direction != "MIXED" and settings.features.feat_dynamic_direction:
        found.append(("CONFIG_CONFLICT", "features.feat_dynamic_direction needs sleeve.direction MIXED"))
    order = {"LONG": "descending", "SHORT": "ascending"}.get(direction, "auto")
    if settings.ranking.direction not in ("auto", order):
        found.append((
            "RANK_DIRECTION_MISMATCH",
            f"ranking.direction {settings.ranking.direction} contradicts a {direction} sleeve; use {order}",
        ))  # fmt: skip
    if settings.htr.floor > settings.selection.max_winners:
        found.append(("CONFIG_RANGE", "htr.floor is above selection.max_winners"))
    if 2 * (settings.htr.leg_floor or 0) > settings.selection.max_winners:
        found.append(("CONFIG_RANGE", "htr.leg_floor of both legs is above selection.max_winners"))
    return found


def followed(settings: Settings) -> Settings:
    """`settings` with every key that follows another one given its value.

    `data.strict_candidates` and `data.freshness.alpha_action` follow `data.strict`,
    `allocation.clusters` follows `selection.clusters` key by key, `allocation.beta.benchmark` is the
    first of `backtest.benchmark_symbols`.
    """
    return settings.model_copy(
        update={"data": _followed_data(settings.data), "allocation": _followed_allocation(settings)}
    )


def _followed_data(data: DataSettings) -> DataSettings:
    action = data.freshness.alpha_action or ("fail" if data.strict else "warn")
    candidates = data.strict if data.strict_candidates is None else data.strict_candidates
    freshness = data.freshness.model_copy(update={"alpha_action": action})
    return data.model_copy(update={"strict_candidates": candidates, "freshness": freshness})


def _followed_allocation(settings: Settings) -> AllocationSettings:
    allocation = settings.allocation
    own = allocation.clusters.model_dump(exclude_unset=True)
    benchmark = allocation.beta.benchmark or next(iter(settings.backtest.benchmark_symbols), None)
    return allocation.model_copy(
        update={
            "clusters": settings.selection.clusters.model_copy(update=own),
            "beta": allocation.beta.model_copy(update={"benchmark": benchmark}),
        }
    )


SECTIONS: tuple[str, ...] = tuple(Settings.model_fields)
