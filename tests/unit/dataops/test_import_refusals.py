"""What an import refuses or sets aside, told by name, with the lakehouse as it was."""

from __future__ import annotations

import json
from datetime import date
from hashlib import sha256
from typing import Any

import pytest

from quantctl.lake.snapshot import Lake

GOOD = [f"BINANCE:AAAUSDT,2024-01-0{day},10,12,9,11,5" for day in range(2, 6)]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("BINANCE:AAA USDT,2024-01-02,10,12,9,11,5", "'BINANCE:AAA USDT' is not EXCHANGE:SYMBOL"),
        ("BINANCE:,2024-01-02,10,12,9,11,5", "'BINANCE:' is not EXCHANGE:SYMBOL"),
        ("A:B:C,2024-01-02,10,12,9,11,5", "'A:B:C' is not EXCHANGE:SYMBOL"),
        (",2024-01-02,10,12,9,11,5", "a row has no symbol"),
    ],
)
def test_a_symbol_without_a_canonical_name_stops_the_import(market: Any, row: str, told: str) -> None:
    path = market.csv(*GOOD, row)
    exit_code, body = market.command("import", path)
    error = body["error"]
    assert (exit_code, error["code"], error["exit"]) == (2, "IMPORT_SYMBOL", 2)
    assert told in error["message"]
    assert "EXCHANGE:SYMBOL" in error["remedy"]
    assert market.untouched()


def test_a_kline_file_that_names_no_instrument_is_refused(market: Any) -> None:
    path = market.root / "klines.json"
    path.write_text("[]")
    exit_code, body = market.command("import", path, "--exchange", "BINANCE")
    assert (exit_code, body["error"]["code"]) == (2, "IMPORT_SYMBOL")
    assert "klines.json does not name one instrument" in body["error"]["message"]
    assert "BTCUSDT" in body["error"]["remedy"]
    assert market.untouched()


def test_files_that_were_imported_before_are_told_by_the_run_that_did(market: Any) -> None:
    path = market.csv(*GOOD)
    assert market.command("import", path, "--run-id", "first")[0] == 0
    head = Lake(market.data / "lakehouse").log.head()
    assert market.command("import", path, "--run-id", "second")[0] == 0
    assert Lake(market.data / "lakehouse").log.head() == head
    runs = market.data / "artifacts" / "summaries" / "runs"
    records = [json.loads(line) for line in (runs / "second" / "audit.jsonl").read_text().splitlines()]
    told = [r for r in records if r["code"] == "ALREADY_IMPORTED"]
    assert [r["data"]["message"] for r in told] == ["these files were imported by first"]


def test_an_intraday_stamp_between_two_sessions_is_counted_and_dated_nowhere(market: Any) -> None:
    rows = [
        "AMEX:SPY,2024-01-05T14:30:00Z,10,12,9,11,5",
        "AMEX:SPY,2024-01-08T23:30:00Z,10,12,9,11,5",  # two and a half hours after the close
    ]
    exit_code, failed, report = market.bring(market.csv(*rows), "--calendar", "XNYS")
    assert (exit_code, failed) == (0, None)
    assert report["by_symbol"] == [{"symbol": "AMEX:SPY", "code": "BAR_OUTSIDE_SESSION", "rows": 1}]
    assert market.bars()["date"].to_list() == [date(2024, 1, 5)]


def test_bars_outside_what_the_calendar_covers_stop_the_import(market: Any) -> None:
    rows = ["AMEX:SPY,2024-01-05,10,12,9,11,5", "AMEX:SPY,1600-01-05,10,12,9,11,5"]
    exit_code, body = market.command("import", market.csv(*rows), "--calendar", "XNYS")
    assert (exit_code, body["error"]["code"]) == (3, "CALENDAR_RANGE")
    assert "calendar XNYS has no sessions from 1599-01-01" in body["error"]["message"]
    assert "correct or remove the rows" in body["error"]["remedy"]
    assert market.untouched()


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_a_date_that_stands_for_none_is_no_fault_of_ours(market: Any, day: str) -> None:
    exit_code, body = market.command("import", market.csv(f"BINANCE:AAAUSDT,{day},10,12,9,11,5"))
    assert (exit_code, body["error"]["code"]) == (3, "CALENDAR_RANGE")
    assert day in body["error"]["message"]
    assert "correct or remove the rows" in body["error"]["remedy"]
    assert market.untouched()


def test_a_second_simulation_of_the_same_names_is_refused(market: Any) -> None:
    path = market.csv("BINANCE:BTCUSDT,2024-01-02,10,12,9,11,5")
    assert market.command("import", path)[0] == 0
    head = Lake(market.data / "lakehouse").log.head()
    exit_code, body = market.command("simulate", "--symbols", "12", "--days", "260")
    error = body["error"]
    assert (exit_code, error["code"]) == (2, "SIMULATION_EXISTS")
    assert "bars of 1 of these symbols" in error["message"]
    assert "TV_LAKEHOUSE_DIR" in error["remedy"]
    assert Lake(market.data / "lakehouse").log.head() == head
    assert market.bars().height == 1


def test_features_before_any_bars_name_the_import(market: Any) -> None:
    exit_code, body = market.command("features", "--all-symbols", "--yes")
    assert (exit_code, body["error"]["code"]) == (2, "STAGE_PREREQUISITE_MISSING")
    assert "quantctl data import" in body["error"]["remedy"]
    assert market.untouched()


@pytest.mark.parametrize(
    ("row", "exit_code", "coverage", "status"),
    [
        (GOOD[0], 0, 1.0, "PASS"),
        ("BINANCE:AAAUSDT,2024-01-02,10,9,9,11,5", 3, 0.0, "FAIL"),  # recorded before the failing exit
    ],
)
def test_the_ledger_names_the_coverage_file_of_an_import(
    market: Any, row: str, exit_code: int, coverage: float, status: str
) -> None:
    assert market.command("import", market.csv(row), "--run-id", "brought")[0] == exit_code
    artifacts = market.data / "artifacts"
    ledger = artifacts / "summaries" / "runs" / "brought" / "audit.jsonl"
    records = [json.loads(line) for line in ledger.read_text().splitlines()]
    [told] = [record["data"] for record in records if record["code"] == "COVERAGE_RECORDED"]
    assert (told["stage"], told["coverage"], told["status"]) == ("price_ingest", coverage, status)
    assert sha256((artifacts / told["path"]).read_bytes()).hexdigest() == told["sha256"]
