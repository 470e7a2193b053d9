"""The L0 gate: one flipped cell, date or column fires exactly the matching code, exit 3."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.records.candidates import PoolRow, RawPool
from quantctl.contracts.records.foundation import FoundationReport
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.stage import Judgement, Loaded, RunFacts
from quantctl.steps.l1_ingestion.gates import L0Params, judge_candidates, judge_l0

SYMBOLS = ["BINANCE:AAAUSDT", "BINANCE:BBBUSDT", "BINANCE:CCCUSDT"]
RUN = RunFacts(
    run_id="r", profile="p", trace_id="0" * 32, pipeline="alpha.full", as_of="2024-12-31", snapshot="s",
    manifest_sha256="0" * 64, annualisation=365, code_version="0",
)  # fmt: skip
NO_SESSIONS = pl.DataFrame(schema={"code": pl.String, "date": pl.Date})


def matrix(rows: int = 330) -> pl.DataFrame:
    values = np.random.default_rng(1).normal(0, 0.03, (rows, len(SYMBOLS)))
    days = [date(2024, 1, 1) + timedelta(days=i) for i in range(rows)]
    dates = pl.Series("date", days).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    return pl.DataFrame([dates, *(pl.Series(s, values[:, i]) for i, s in enumerate(SYMBOLS))])


def report() -> FoundationReport:
    return FoundationReport(
        run_id="r", profile="p", as_of="2024-12-31", annualisation=365, calendars=["24x7"], window={},
        floor={"configured": 320, "effective": 320}, counts={}, drops=[], notes=[], dropped_rows={},
        column_roles={symbol: ["pool"] for symbol in SYMBOLS}, assets=[],
    )  # fmt: skip


def judged(
    frame: pl.DataFrame, found: FoundationReport | None = None, sessions: pl.DataFrame = NO_SESSIONS
) -> Judgement:
    return judge_l0(
        Loaded("returns_matrix", "m", frame), Loaded("foundation_report", "f", found or report()), sessions,
        params=L0Params(data=DataSettings()), run=RUN,
    )  # fmt: skip


def codes(judgement: Judgement, level: str) -> list[str]:
    return sorted({finding.code for finding in judgement.findings if finding.level == level})


def put(row: int, value: float | None) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def change(frame: pl.DataFrame) -> pl.DataFrame:
        column = frame[SYMBOLS[1]].to_list()
        column[row] = value
        return frame.with_columns(pl.Series(SYMBOLS[1], column, dtype=pl.Float64))

    return change


def repeat_date(frame: pl.DataFrame) -> pl.DataFrame:
    dates = frame["date"].to_list()
    dates[10] = dates[9]
    return frame.with_columns(pl.Series("date", dates, dtype=frame["date"].dtype))


def swap_dates(frame: pl.DataFrame) -> pl.DataFrame:
    dates = frame["date"].to_list()
    dates[10], dates[11] = dates[11], dates[10]
    return frame.with_columns(pl.Series("date", dates, dtype=frame["date"].dtype))


def test_a_sound_matrix_passes() -> None:
    found = judged(matrix())
    assert found.findings == []
    assert found.error is None
    assert found.checked == {"columns": 3, "rows": 330}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (put(5, float("nan")), "L0_NONFINITE"),
        (put(5, None), "L0_NONFINITE"),
        (put(5, float("inf")), "L0_NONFINITE"),
        (put(5, 5.5), "L0_TOXIC"),
        (put(5, -1.2), "L0_BELOW_MINUS_ONE"),
        (repeat_date, "L0_DUPLICATE"),
        (swap_dates, "L0_INDEX"),
        (lambda f: f.with_columns(pl.col("date") + pl.duration(hours=1)), "L0_INDEX"),
        (lambda f: f.with_columns(pl.col("date").dt.cast_time_unit("us")), "L0_INDEX"),
        (lambda f: f.with_columns(pl.lit(0.01).alias(SYMBOLS[1])), "L0_CONSTANT"),
        (lambda f: f.head(319), "L0_TOO_SHORT"),
    ],
)
def test_one_defect_fires_exactly_its_code(change: Callable[[pl.DataFrame], pl.DataFrame], code: str) -> None:
    found = judged(change(matrix()))
    assert codes(found, "ERROR") == [code]
    assert found.error is not None
    assert (found.error.code, found.error.exit_code) == ("FOUNDATION_INVALID", 3)


def test_a_large_move_and_a_run_of_zeros_only_warn() -> None:
    frame = put(5, 1.5)(matrix())
    for row in range(20, 26):
        frame = put(row, 0.0)(frame)
    found = judged(frame)
    assert codes(found, "WARN") == ["L0_LARGE_MOVE", "L0_ZERO_RUN"]
    assert found.error is None


def test_a_matrix_without_pool_columns_is_empty() -> None:
    found = judged(matrix(), report().model_copy(update={"column_roles": {}}))
    assert codes(found, "ERROR") == ["L0_NOTHING_CHECKED"]
    assert found.error is not None
    assert (found.error.code, found.error.exit_code) == ("FOUNDATION_EMPTY", 3)


def test_a_row_on_no_session_of_an_exchange_calendar_is_padding() -> None:
    frame = matrix().rename({SYMBOLS[1]: "AMEX:SPY"}).select("date", "AMEX:SPY", SYMBOLS[0], SYMBOLS[2])
    weekdays = frame.filter(frame["date"].dt.weekday() < 6)["date"].dt.date()
    sessions = pl.DataFrame({"code": ["XNYS"] * len(weekdays), "date": weekdays})
    padded = judged(frame, report(), sessions)
    assert codes(padded, "ERROR") == ["L0_PADDED_CALENDAR"]
    on_sessions = frame.filter(frame["date"].dt.weekday() < 6)
    short = judged(on_sessions, report(), sessions)
    assert codes(short, "ERROR") == ["L0_TOO_SHORT"]


def test_an_unreadable_matrix_is_an_error_of_the_gate() -> None:
    found = judge_l0(
        Loaded("returns_matrix", "m", None, None, "unreadable", "bad"),
        Loaded("foundation_report", "f", report()),
        NO_SESSIONS, params=L0Params(data=DataSettings()), run=RUN,
    )  # fmt: skip
    assert codes(found, "ERROR") == ["L0_PARSE"]


def test_assets_that_were_dropped_for_gaps_are_named_and_others_are_not() -> None:
    drops = [
        {"symbol": symbol, "code": code, "value": 0.2, "limit": 0.1, "roles": ["pool"]}
        for symbol, code in (("BINANCE:GAPUSDT", "GAP_EXCESS"), ("BINANCE:NEWUSDT", "HISTORY_SHORT"))
    ]
    found = judged(matrix(), FoundationReport.model_validate(report().model_dump() | {"drops": drops}))
    assert [(f.level, f.code, f.symbol) for f in found.findings] == [
        ("WARN", "L0_SPARSE_DROPPED", "BINANCE:GAPUSDT")
    ]
    assert found.error is None


def pool_row(**changes: object) -> PoolRow:
    fields: dict[str, object] = {
        "atom": "BINANCE:AAAUSDT_rating_all_LONG", "symbol": "BINANCE:AAAUSDT", "exchange": "BINANCE",
        "asset_type": "spot", "base_identity": "AAA", "quote": "USDT", "direction": "LONG",
        "logic": "rating_all", "adv": 1e8, "vol_30": 0.03, "adv_group": 1e8, "scanners": ["s"],
        "metadata": {}, "tick_size": 0.01, "lot_size": 0.01, "price_precision": 2, "min_notional": 5.0,
        "metadata_provenance": "venue", "calendar": "24x7",
    }  # fmt: skip
    return PoolRow.model_validate(fields | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"symbol": "AAAUSDT", "atom": "AAAUSDT_rating_all_LONG"},
        {"exchange": "KRAKEN"},
        {"direction": "UP", "atom": "BINANCE:AAAUSDT_rating_all_UP"},
        {"asset_type": ""},
        {"atom": "BINANCE:AAAUSDT_rating_ma_LONG"},
    ],
)
def test_a_record_that_is_not_canonical_is_named(changes: dict[str, object]) -> None:
    pool = RawPool(run_id="r", profile="p", as_of="2024-12-31", rows=[pool_row(**changes)])
    found = judge_candidates(Loaded("portfolio_candidates_raw", "p", pool), run=RUN)
    assert codes(found, "ERROR") == ["L1_CANDIDATE_SCHEMA"]


def test_an_unreadable_pool_is_an_error_of_the_gate() -> None:
    broken: Loaded[RawPool] = Loaded(
        "portfolio_candidates_raw", "p.json", None, None, "unreadable", "cut off"
    )
    found = judge_candidates(broken, run=RUN)
    assert codes(found, "ERROR") == ["CANDIDATES_PARSE"]
    assert found.error is not None
    assert (found.error.code, found.error.exit_code, found.error.where) == ("CANDIDATES_PARSE", 3, "p.json")
    assert "cut off" in found.error.message


def test_an_empty_pool_names_the_command_that_fills_it() -> None:
    pool = RawPool(run_id="r", profile="p", as_of="2024-12-31", rows=[])
    found = judge_candidates(Loaded("portfolio_candidates_raw", "p", pool), run=RUN)
    assert found.error is not None
    assert (found.error.code, found.error.exit_code) == ("CANDIDATES_EMPTY", 3)
    assert found.error.remedy == "quantctl data candidates --profile p --as-of 2024-12-31"
