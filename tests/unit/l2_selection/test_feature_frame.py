"""The feature frame: every column declared, nothing defaulted, the SHORT transform applied exactly once."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.errors import ContractError, DataMissing
from quantctl.contracts.frames.features import DIRECTIONAL, FEATURES, INVARIANT, SIGNED, FeatureFrame
from quantctl.contracts.records.candidates import PoolRow, PoolVeto, RawPool
from quantctl.contracts.records.foundation import FoundationReport
from quantctl.contracts.stage import Outcome, RunFacts
from quantctl.steps.l2_selection.candidates import Candidates
from quantctl.steps.l2_selection.frame import build_features, feature_frame

AS_OF = date(2024, 12, 31)
SYMBOLS = ["BINANCE:AAAUSDT", "BINANCE:BBBUSDT", "BINANCE:CCCUSDT"]
RUN = RunFacts(
    run_id="r", profile="p", trace_id="0" * 32, pipeline="alpha.full", as_of="2024-12-31", snapshot="s",
    manifest_sha256="0" * 64, annualisation=365, code_version="0",
)  # fmt: skip
NO_SESSIONS = pl.DataFrame(schema={"code": pl.String, "date": pl.Date})


def store(day: date = AS_OF) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    names = [*FEATURES, *(f"{name}_s" for name in DIRECTIONAL)]
    values = {name: rng.uniform(0.05, 0.95, len(SYMBOLS)) for name in names}
    counts = {
        name: pl.Series([n] * len(SYMBOLS), dtype=pl.Int32)
        for name, n in (("n_obs_120", 120), ("n_obs_252", 252))
    }
    return pl.DataFrame(
        {"symbol": SYMBOLS, "date": [day] * len(SYMBOLS), **counts, **values, "rsi_14": [50.0] * 3}
    )


def row(
    symbol: str, direction: str = "LONG", calendar: str = "24x7", vetoes: tuple[PoolVeto, ...] = ()
) -> PoolRow:
    return PoolRow(
        atom=f"{symbol}_trend_{direction}", symbol=symbol, exchange="BINANCE", asset_type="spot",
        base_identity=symbol[8:11], quote="USDT", direction=direction, logic="trend", adv=1e7, vol_30=0.02,
        adv_group=1e7, scanners=["s"], metadata={}, tick_size=0.01, lot_size=0.1, price_precision=2,
        min_notional=5.0, metadata_provenance="venue", calendar=calendar, vetoes=list(vetoes),
    )  # fmt: skip


def plain(rows: list[PoolRow]) -> list[dict[str, Any]]:
    names = (
        "atom", "symbol", "logic", "direction", "exchange", "asset_type", "base_identity", "calendar",
        "tick_size", "lot_size", "price_precision", "metadata_provenance",
    )  # fmt: skip
    return [{name: getattr(each, name) for name in names} for each in rows]


def built(
    rows: list[PoolRow], roles: dict[str, list[Any]] | None = None, table: pl.DataFrame | None = None
) -> Outcome:
    report = FoundationReport(
        run_id="r", profile="p", as_of="2024-12-31", annualisation=365, calendars=["24x7"], window={},
        floor={}, counts={}, drops=[], notes=[], dropped_rows={}, assets=[],
        column_roles=roles if roles is not None else {symbol: ["pool"] for symbol in SYMBOLS},
    )  # fmt: skip
    pool = RawPool(run_id="r", profile="p", as_of="2024-12-31", rows=rows)
    return build_features(pool, report, store() if table is None else table, NO_SESSIONS, RUN)


def test_the_frame_meets_its_contract_and_holds_both_legs() -> None:
    outcome = built([row(SYMBOLS[0]), row(SYMBOLS[0], "SHORT"), row(SYMBOLS[1])])
    frame = outcome.outputs["selection_features"].frame
    FeatureFrame.validate(frame, lazy=True)
    assert frame["atom"].to_list() == sorted(frame["atom"].to_list()) and frame.height == 3
    assert frame["direction_applied"].all()
    assert outcome.outputs["features_matrix"].frame["symbol"].to_list() == SYMBOLS[:2]


def test_short_rows_are_transformed_once() -> None:
    frame = feature_frame(plain([row(SYMBOLS[0]), row(SYMBOLS[0], "SHORT")]), store(), NO_SESSIONS, AS_OF)
    long, short = frame.row(0, named=True), frame.row(1, named=True)
    raw = store().row(0, named=True)
    for name in DIRECTIONAL:
        assert long[name] == raw[name] and short[name] == raw[f"{name}_s"]
    for name in SIGNED:
        assert short[name] == -long[name] == -raw[name]
    assert (short["dmp_14"], short["dmn_14"]) == (raw["dmn_14"], raw["dmp_14"])
    assert all(short[name] == long[name] == raw[name] for name in INVARIANT)


@pytest.mark.parametrize("name", ["entropy", "momentum_s", "n_obs_120", "regime_survival", "dmn_14"])
def test_dropped_column_raises_and_is_no_veto(name: str) -> None:
    with pytest.raises(ContractError) as caught:
        built([row(SYMBOLS[0])], table=store().drop(name))
    assert caught.value.code == "FEATURE_COLUMN_MISSING" and caught.value.exit_code == 3
    assert name in caught.value.message


def test_undeclared_column_cannot_be_read_by_a_filter() -> None:
    candidates = Candidates.of(feature_frame(plain([row(SYMBOLS[0])]), store(), NO_SESSIONS, AS_OF))
    with pytest.raises(ContractError) as caught:
        candidates.number("rsi_14")
    assert caught.value.code == "FEATURE_COLUMN_MISSING"


@pytest.mark.parametrize(("name", "value"), [("adx_14", 100.5), ("recommend_ma", -1.01), ("vol_30", -0.1),
                                             ("entropy", 1.2), ("dmp_14", -1.0)])  # fmt: skip
def test_value_outside_its_domain_stops_the_stage(name: str, value: float) -> None:
    table = store().with_columns(pl.Series(name, [0.5, value, 0.5]))
    with pytest.raises(ContractError) as caught:
        built([row(SYMBOLS[1])], table=table)
    assert caught.value.code == "FEATURE_OUT_OF_BOUNDS" and caught.value.exit_code == 3


def test_undefined_cell_is_not_out_of_bounds_and_stays_null() -> None:
    table = store().with_columns(pl.Series("adx_14", [0.5, None, 0.5]))
    frame = built([row(SYMBOLS[1])], table=table).outputs["selection_features"].frame
    assert frame["adx_14"].to_list() == [None]


@pytest.mark.parametrize(("days", "stale"), [(0, False), (3, False), (4, True)])
def test_feature_row_older_than_three_sessions_is_stale(days: int, stale: bool) -> None:
    outcome = built([row(SYMBOLS[0])], table=store(AS_OF - timedelta(days=days)))
    assert outcome.outputs["selection_features"].frame["feature_age"].to_list() == [days]
    assert [finding.code for finding in outcome.findings] == (["FEATURE_STALE"] if stale else [])


def test_age_counts_sessions_of_the_exchange_not_days() -> None:
    days = [date(2024, 12, 26), date(2024, 12, 27), date(2024, 12, 30), AS_OF]
    sessions = pl.DataFrame({"code": ["XNYS"] * 4, "date": days})
    rows = plain([row(SYMBOLS[0], calendar="XNYS")])
    frame = feature_frame(rows, store(date(2024, 12, 26)), sessions, AS_OF)
    assert frame["feature_age"].to_list() == [3] and frame["annualisation"].to_list() == [252]


def test_exchange_calendar_without_sessions_is_an_error() -> None:
    with pytest.raises(DataMissing) as caught:
        feature_frame(plain([row(SYMBOLS[0], calendar="XNYS")]), store(), NO_SESSIONS, AS_OF)
    assert caught.value.code == "SESSIONS_MISSING"


def test_symbol_without_a_store_row_keeps_nulls_and_counts_as_stale() -> None:
    outcome = built([row(SYMBOLS[2])], table=store().head(2))
    frame = outcome.outputs["selection_features"].frame
    assert frame["feature_age"].to_list() == [None] and frame["momentum"].to_list() == [None]
    assert outcome.metrics["stale"] == 1


def test_vetoed_rows_and_reference_columns_are_no_candidates() -> None:
    rows = [row(SYMBOLS[0]), row(SYMBOLS[1], vetoes=(PoolVeto(code="PEG_LISTED"),)), row(SYMBOLS[2])]
    outcome = built(
        rows, roles={SYMBOLS[0]: ["pool", "reference"], SYMBOLS[1]: ["pool"], SYMBOLS[2]: ["reference"]}
    )
    assert outcome.outputs["selection_features"].frame["symbol"].to_list() == [SYMBOLS[0]]


def test_order_of_pool_and_store_does_not_matter() -> None:
    rows = [row(symbol, leg) for symbol in SYMBOLS for leg in ("LONG", "SHORT")]
    one, two = built(rows), built(rows[::-1], table=store().reverse())
    assert one.outputs["selection_features"].frame.equals(two.outputs["selection_features"].frame)
    assert one.outputs["selection_features"].metadata == two.outputs["selection_features"].metadata
