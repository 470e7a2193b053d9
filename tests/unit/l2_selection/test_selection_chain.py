"""Selection from bars to enriched winners, stage after stage, judged by its own gates."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.records.candidates import PoolRow, RawPool
from quantctl.contracts.records.foundation import FoundationReport
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.htr import HtrSettings
from quantctl.contracts.settings.mps import MpsSettings
from quantctl.contracts.settings.ranking import RankingSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.contracts.settings.selection import SelectionSettings
from quantctl.contracts.stage import Loaded, RunFacts, Tagged
from quantctl.steps.l1_ingestion.feature_store import compute_features
from quantctl.steps.l2_selection.clustering import ClusteringParams, cluster
from quantctl.steps.l2_selection.decision import PolicyParams
from quantctl.steps.l2_selection.enrichment import enrich
from quantctl.steps.l2_selection.frame import build_features
from quantctl.steps.l2_selection.gates import judge_enrichment, judge_l1_l2, judge_winner_floor
from quantctl.steps.l2_selection.inference import InferenceParams, infer
from quantctl.steps.l2_selection.null_tables import NullTables
from quantctl.steps.l2_selection.policy import decide

ROWS, N = 420, 24
FIRST = date(2023, 11, 1)
AS_OF = FIRST + timedelta(days=ROWS - 1)
SYMBOLS = [f"BINANCE:A{i:02d}USDT" for i in range(N)]
HEAD = {"run_id": "r", "profile": "p", "as_of": AS_OF.isoformat()}
RUN = RunFacts(
    **HEAD, trace_id="0" * 32, pipeline="selection.full", snapshot="s", manifest_sha256="0" * 64,
    annualisation=365, code_version="0",
)  # fmt: skip
NO_SESSIONS = pl.DataFrame(schema={"code": pl.String, "date": pl.Date})


def prices() -> np.ndarray[Any, np.dtype[np.float64]]:
    rng = np.random.default_rng(11)
    common = rng.normal(0.001, 0.012, (ROWS, 1))
    own = rng.normal(np.linspace(-0.001, 0.004, N), 0.02, (ROWS, N))
    return np.asarray(100 * np.exp(np.cumsum(common + own, axis=0)))


def bars(close: np.ndarray[Any, np.dtype[np.float64]]) -> pl.DataFrame:
    days = [FIRST + timedelta(days=i) for i in range(ROWS)]
    known = [datetime(2023, 11, 2) + timedelta(days=i) for i in range(ROWS)]
    frames = [
        pl.DataFrame({
            "symbol": [symbol] * ROWS, "date": days, "high": close[:, i] * 1.01, "low": close[:, i] * 0.99,
            "close": close[:, i], "volume": np.full(ROWS, 1e6), "quote_volume": close[:, i] * 1e6,
            "provenance": ["t"] * ROWS, "known_at": known,
        })
        for i, symbol in enumerate(SYMBOLS)
    ]  # fmt: skip
    return pl.concat(frames)


def raw_pool(directions: tuple[str, ...]) -> RawPool:
    rows = [
        PoolRow(
            atom=f"{symbol}_rating_all_{leg}", symbol=symbol, exchange="BINANCE", asset_type="spot",
            base_identity=symbol[8:11], quote="USDT", direction=leg, logic="rating_all", adv=1e8, vol_30=0.02,
            adv_group=1e8, scanners=["s"], metadata={}, tick_size=0.01, lot_size=0.1, price_precision=2,
            min_notional=5.0, metadata_provenance="venue", calendar="24x7",
        )
        for symbol in SYMBOLS
        for leg in directions
    ]  # fmt: skip
    return RawPool(**HEAD, rows=rows)


@pytest.fixture(scope="module", params=[("LONG",), ("LONG", "SHORT")], ids=["long", "mixed"])
def chain(request: pytest.FixtureRequest) -> dict[str, Any]:
    close = prices()
    store = compute_features(
        bars(close), dict.fromkeys(SYMBOLS, 365), {}, FeaturesSettings(), RatingsSettings()
    )
    returns = close[1:] / close[:-1] - 1
    days = pl.Series("date", [FIRST + timedelta(days=i) for i in range(1, ROWS)])
    days = days.cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    report = FoundationReport(
        **HEAD, annualisation=365, calendars=["24x7"], window={}, floor={}, counts={}, drops=[], notes=[],
        dropped_rows={}, column_roles={symbol: ["pool"] for symbol in SYMBOLS}, assets=[],
    )  # fmt: skip
    sections: dict[str, Any] = {
        "features": FeaturesSettings(feat_short_direction=True), "selection": SelectionSettings(),
        "htr": HtrSettings(), "ranking": RankingSettings(),
    }  # fmt: skip
    made: dict[str, Any] = {
        "portfolio_candidates_raw": raw_pool(request.param), "foundation_report": report,
        "returns_matrix": pl.DataFrame([days, *(pl.Series(s, returns[:, i]) for i, s in enumerate(SYMBOLS))]),
    }  # fmt: skip
    latest = store.filter(pl.col("date") == AS_OF)
    pool = made["portfolio_candidates_raw"]
    made |= plain(build_features(pool, report, latest, NO_SESSIONS, RUN).outputs)
    params = InferenceParams(**sections, mps=MpsSettings())
    made |= infer(made["selection_features"], NullTables(), params).outputs
    grouping = ClusteringParams(selection=SelectionSettings(), allocation=AllocationSettings())
    made |= cluster(made["returns_matrix"], report, grouping).outputs
    made |= decide(
        pool, report, made["selection_features"], made["selection_scores"], made["selection_clusters"],
        made["null_calibration"], {}, PolicyParams(**sections), RUN,
    ).outputs  # fmt: skip
    metadata = pl.DataFrame(
        {
            "symbol": SYMBOLS, "tick_size": 0.01, "lot_size": 0.1, "price_precision": 2, "min_notional": 5.0,
            "min_notional_reason": None, "min_qty": 0.1, "max_qty": 1e6, "contract_size": None,
            "provenance": "venue",
        }
    )  # fmt: skip
    listed = pl.DataFrame({"symbol": SYMBOLS, "base": "A", "quote": "USDT", "sector": None, "industry": None})
    return made | enrich(made["portfolio_candidates"], pool, metadata, listed, RUN).outputs


def plain(outputs: Any) -> dict[str, Any]:
    return {name: value.frame if isinstance(value, Tagged) else value for name, value in outputs.items()}


def loaded(chain: dict[str, Any], *names: str) -> list[Loaded[Any]]:
    return [Loaded(name, ARTIFACTS[name].path, chain[name]) for name in names]


def test_every_gate_of_selection_passes(chain: dict[str, Any]) -> None:
    inputs = loaded(chain, "features_matrix", "selection_features", "selection_scores",
                    "portfolio_candidates", "selection_audit", "portfolio_candidates_raw")  # fmt: skip
    judgements = [
        judge_l1_l2(*inputs, run=RUN),
        judge_winner_floor(*loaded(chain, "portfolio_candidates", "selection_audit"), run=RUN),
        judge_enrichment(*loaded(chain, "portfolio_candidates", "portfolio_meta")),
    ]
    assert [f for judgement in judgements for f in judgement.findings if f.level == "ERROR"] == []
    assert all(all(judgement.checked.values()) for judgement in judgements)


def test_winners_come_from_the_pool_and_reach_the_floor(chain: dict[str, Any]) -> None:
    winners = chain["portfolio_candidates"].winners
    assert {w.atom for w in winners} <= {row.atom for row in chain["portfolio_candidates_raw"].rows}
    assert len(winners) >= 15 or chain["selection_audit"].scarcity is not None
    assert [row.atom for row in chain["portfolio_meta"].rows] == [w.atom for w in winners]


def test_every_atom_of_the_pool_is_accounted_for_once(chain: dict[str, Any]) -> None:
    audit = chain["selection_audit"]
    told = [w.atom for w in audit.winners] + list(audit.vetoes)
    assert sorted(told) == sorted(row.atom for row in chain["portfolio_candidates_raw"].rows)
