"""A synthetic pool whose candidates all pass, and the chain of selection stages over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.frames.features import DIRECTIONAL, FEATURES, INVARIANT, SIGNED
from quantctl.contracts.ids import atom_id
from quantctl.contracts.records.candidates import PoolRow, RawPool
from quantctl.contracts.records.clusters import SelectionClusters
from quantctl.contracts.records.foundation import FoundationReport
from quantctl.contracts.records.selection import SelectionAudit, Winners
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.htr import HtrSettings
from quantctl.contracts.settings.mps import MpsSettings
from quantctl.contracts.settings.ranking import RankingSettings
from quantctl.contracts.settings.selection import SelectionSettings
from quantctl.contracts.stage import Finding, RunFacts
from quantctl.steps.l2_selection.decision import PolicyParams
from quantctl.steps.l2_selection.frame import build_features
from quantctl.steps.l2_selection.inference import InferenceParams, infer
from quantctl.steps.l2_selection.policy import decide

AS_OF = date(2025, 6, 30)
N_OBS = 120
RANGES = {
    "momentum": (0.5, 0.9), "mom_60": (0.05, 0.4), "stability": (1.5, 3.0), "cvar": (-0.09, -0.04),
    "skew": (-0.5, 0.5), "upper_tail": (0.02, 0.08), "recommend_all": (0.1, 0.9), "recommend_ma": (0.1, 0.9),
    "recommend_other": (-0.2, 0.6), "roc_9": (-9.0, 20.0), "mom": (-1.0, 2.0), "macd_hist": (-1.0, 1.0),
    "ao": (-1.0, 1.0), "dmp_14": (20.0, 40.0), "dmn_14": (5.0, 20.0), "entropy": (0.6, 0.85),
    "efficiency": (0.1, 0.4), "hurst": (0.55, 0.7), "turbulence": (0.1, 0.5), "kurtosis": (0.5, 6.0),
    "adx_14": (15.0, 45.0), "adv_30": (1e8, 9e8), "vol_30": (0.02, 0.05), "volume_z": (-1.0, 3.0),
    "regime_survival": (0.7, 1.0), "n_bars": (500.0, 900.0), "gap_share": (0.0, 0.02),
}  # fmt: skip


class Nulls:
    """A null table far from every threshold."""

    mu0, sd0 = 0.58, 0.05

    def get(self, metric: str, n: int) -> Nulls:
        return self

    def quantile(self, p: float) -> float:
        return 0.5 + 0.5 * p

    def row(self) -> dict[str, float]:
        return {}


@dataclass(frozen=True)
class World:
    """`legs` : direction of each candidate; `store` : newest row per symbol; `group` : cluster size."""

    legs: tuple[str, ...]
    store: pl.DataFrame
    group: int = 4
    shuffle: int | None = None
    structural: bool = True
    dropped: dict[str, str] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def symbols(self) -> list[str]:
        return self.store["symbol"].sort().to_list()

    def with_settings(self, section: str, **values: Any) -> World:
        return replace(self, settings=self.settings | {section: self.settings.get(section, {}) | values})

    def with_column(self, name: str, values: Any) -> World:
        return replace(self, store=self.store.with_columns(pl.Series(name, values, dtype=pl.Float64)))

    def mirrored(self) -> World:
        """The world with the sign of every return and every direction turned."""
        turned = [pl.col(name).alias(f"{name}_s") for name in DIRECTIONAL]
        turned += [pl.col(f"{name}_s").alias(name) for name in DIRECTIONAL]
        turned += [-pl.col(name) for name in SIGNED]
        turned += [pl.col("dmp_14").alias("dmn_14"), pl.col("dmn_14").alias("dmp_14")]
        legs = tuple("SHORT" if leg == "LONG" else "LONG" for leg in self.legs)
        return replace(self, legs=legs, store=self.store.with_columns(turned))

    def pool(self, run_id: str) -> RawPool:
        rows = [
            _row(symbol, leg, self.structural) for symbol, leg in zip(self.symbols, self.legs, strict=True)
        ]
        return RawPool(run_id=run_id, profile="p", as_of=AS_OF.isoformat(), rows=rows)

    def foundation(self, run_id: str) -> FoundationReport:
        kept = [symbol for symbol in self.symbols if symbol not in self.dropped]
        drops = [{"symbol": s, "code": c, "value": 1.0, "limit": 2.0, "roles": ["pool"]}
                 for s, c in self.dropped.items()]  # fmt: skip
        return FoundationReport.model_validate({
            "run_id": run_id, "profile": "p", "as_of": AS_OF.isoformat(), "annualisation": 365,
            "calendars": ["24x7"], "window": {}, "floor": {}, "counts": {}, "drops": drops, "notes": [],
            "dropped_rows": {}, "column_roles": {s: ["pool"] for s in kept}, "assets": [],
        })  # fmt: skip

    def clusters(self) -> SelectionClusters:
        kept = [symbol for symbol in self.symbols if symbol not in self.dropped]
        groups = [kept[i : i + self.group] for i in range(0, len(kept), self.group)]
        return SelectionClusters.model_validate({
            "lookbacks_used": [60], "threshold": 0.5, "max_clusters": 25, "ridge": [], "linkage": [],
            "clusters": {str(k): {"members": g, "mean_rho": 0.3} for k, g in enumerate(groups, 1)},
        })  # fmt: skip


@dataclass(frozen=True)
class Selected:
    """What the chain returned."""

    winners: Winners
    audit: SelectionAudit
    findings: list[Finding]
    features: pl.DataFrame
    scores: pl.DataFrame

    @property
    def atoms(self) -> set[str]:
        return {winner.atom for winner in self.winners.winners}


def _row(symbol: str, leg: str, structural: bool) -> PoolRow:
    return PoolRow(
        atom=atom_id(symbol, "rating_all", leg), symbol=symbol, exchange="BINANCE", asset_type="spot",
        base_identity=symbol[8:-4], quote="USDT", direction=leg, logic="rating_all", adv=1e8, vol_30=0.03,
        adv_group=1e8, scanners=["s"], metadata={}, tick_size=0.01 if structural else None,
        lot_size=0.1 if structural else 0.0, price_precision=2 if structural else None,
        min_notional=5.0, metadata_provenance="venue", calendar="24x7",
    )  # fmt: skip


def make_world(count: int = 40, legs: str = "LONG", seed: int = 5) -> World:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {name: rng.uniform(*RANGES[name], count) for name in FEATURES}
    columns |= {f"{name}_s": columns[name] * 0.9 for name in DIRECTIONAL}
    store = pl.DataFrame({
        "symbol": [f"BINANCE:C{i:03d}USDT" for i in range(count)], "date": [AS_OF] * count,
        "n_obs_120": [N_OBS] * count, "n_obs_252": [252] * count, **columns,
    })  # fmt: skip
    directions = ("LONG", "SHORT") * count if legs == "MIXED" else (legs,) * count
    world = World(directions[:count], store)
    return world.with_settings("features", feat_short_direction=legs != "LONG")


def select(world: World, run_id: str = "r1") -> Selected:
    """Features, inference and policy over the world; `world.shuffle` seeds the order of every input."""
    run = RunFacts(
        run_id=run_id, profile="p", trace_id=f"t{run_id}", pipeline="x", as_of=AS_OF.isoformat(),
        snapshot="s", manifest_sha256="m", annualisation=365, code_version="1",
    )  # fmt: skip
    sections = {
        "features": FeaturesSettings, "selection": SelectionSettings, "htr": HtrSettings,
        "ranking": RankingSettings, "mps": MpsSettings,
    }  # fmt: skip
    made: dict[str, Any] = {k: v.model_validate(world.settings.get(k, {})) for k, v in sections.items()}
    pool, report = world.pool(run_id), world.foundation(run_id)
    sessions = pl.DataFrame(schema={"code": pl.String, "date": pl.Date})
    built = build_features(pool, report, _mixed(world.store, world.shuffle), sessions, run)
    features = _mixed(built.outputs["selection_features"].frame, world.shuffle)
    inferred = infer(features, Nulls(), InferenceParams(**made))
    scores, nulls = inferred.outputs["selection_scores"], inferred.outputs["null_calibration"]
    outcome = decide(
        pool, report, features, _mixed(scores, world.shuffle), world.clusters(), _mixed(nulls, world.shuffle),
        {"resolved_manifest": "m"}, PolicyParams(**{k: v for k, v in made.items() if k != "mps"}), run,
    )  # fmt: skip
    outputs = outcome.outputs
    return Selected(
        outputs["portfolio_candidates"], outputs["selection_audit"], outcome.findings, features, scores
    )


def _mixed(frame: pl.DataFrame, seed: int | None) -> pl.DataFrame:
    return frame if seed is None else frame.sample(fraction=1.0, shuffle=True, seed=seed)


@pytest.fixture(scope="session")
def selection() -> SimpleNamespace:
    """`make(count, legs, seed)` a world and `run` the selection chain over it."""
    return SimpleNamespace(make=make_world, run=select, invariant=INVARIANT, as_of=AS_OF)


Chain = Callable[..., Selected]
