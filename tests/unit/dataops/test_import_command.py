"""Row rules of imports through the command line, with exit codes and what the lakehouse then holds."""

from __future__ import annotations

import hashlib
import json
import zipfile
from datetime import date

import polars as pl

from quantctl.lake.snapshot import Lake

GOOD = [f"BINANCE:AAAUSDT,2024-01-0{day},10,12,9,11,5" for day in range(1, 6)]
START_MS = 1_704_067_200_000  # 2024-01-01


def test_accepted_and_quarantined_rows_are_counted_and_kept_apart(market):
    rows = [
        *GOOD, GOOD[0],  # an identical repetition
        "BINANCE:BBBUSDT,2024-01-01,10,12,9,11,5", "BINANCE:BBBUSDT,2024-01-01,10,12,9,11.5,5",
        "BINANCE:BBBUSDT,2024-01-02,10,9.5,9,11,5", "BINANCE:BBBUSDT,2024-01-03,10,12,9,-1,5",
        "BINANCE:BBBUSDT,2024-01-04,10,12,9,11,5",
    ]  # fmt: skip
    code, failed, report = market.bring(market.csv(*rows))
    assert (code, failed) == (0, None)
    assert report["counts"] == {"BAR_DUPLICATE": 1, "BAR_INVALID": 2, "IMPORT_DUPLICATE_CONFLICT": 2}
    assert market.bars()["symbol"].value_counts().sort("symbol").rows() == [
        ("BINANCE:AAAUSDT", 5), ("BINANCE:BBBUSDT", 1),
    ]  # fmt: skip
    kept = Lake(market.data / "lakehouse").snapshot().table("bars_quarantine")
    assert sorted(kept["code"]) == ["BAR_INVALID"] * 2 + ["IMPORT_DUPLICATE_CONFLICT"] * 2


def test_conflicting_rows_stop_a_strict_import_and_nothing_is_committed(market):
    path = market.csv(*GOOD, GOOD[0].replace(",11,", ",11.5,"))
    assert market.bring(path, "--strict")[:2] == (3, "IMPORT_DUPLICATE_CONFLICT")
    assert market.untouched()


def test_the_last_bar_is_unfinished_relative_to_the_as_of_date(market):
    code, _, report = market.bring(market.csv(*GOOD), "--as-of", "2024-01-04")
    assert code == 0
    assert report["counts"] == {"BAR_UNFINISHED": 1}
    assert market.bars()["date"].max() == date(2024, 1, 4)


def test_bars_off_the_sessions_of_their_calendar_are_quarantined(market):
    code, _, report = market.bring(market.csv(*GOOD), "--calendar", "XNYS")
    assert code == 0
    assert report["counts"] == {"BAR_NOT_ON_SESSION": 1}  # New Year's Day
    assert report["by_symbol"] == [{"symbol": "BINANCE:AAAUSDT", "code": "BAR_NOT_ON_SESSION", "rows": 1}]


def test_a_source_of_closes_needs_consent_and_leaves_the_rest_null(market):
    path = market.root / "closes.csv"
    path.write_text("symbol,date,close\nBINANCE:AAAUSDT,2024-01-01,11\n")
    assert market.bring(path)[:2] == (2, "IMPORT_COLUMNS")
    assert market.bring(path, "--close-only")[0] == 0
    assert market.bars().select("open", "high", "low", "close").rows() == [(None, None, None, 11.0)]


def test_an_unreadable_value_stops_the_import_of_every_file(market):
    good, bad = market.csv(*GOOD), market.csv(GOOD[0], GOOD[1].replace("12", "twelve"), name="worse.csv")
    code, body = market.command("import", good, bad)
    assert code == 3
    assert body["error"]["code"] == "IMPORT_PARSE"
    assert "row 2: high" in body["error"]["message"]
    assert market.untouched()


def test_an_archive_is_held_to_its_checksum(market):
    path = market.root / "AAAUSDT-1d-2024-01.zip"
    lines = [",".join(map(str, _kline(day))) for day in range(3)]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("AAAUSDT-1d-2024-01.csv", "\n".join(lines))
    beside = path.with_name(path.name + ".CHECKSUM")
    beside.write_text("0" * 64)
    assert market.bring(path, "--exchange", "BINANCE")[:2] == (3, "IMPORT_CHECKSUM")
    assert market.untouched()
    beside.write_text(hashlib.sha256(path.read_bytes()).hexdigest() + f"  {path.name}\n")
    assert market.bring(path, "--exchange", "BINANCE")[0] == 0
    assert market.bars().height == 3


def test_kline_arrays_are_imported_with_turnover(market):
    path = market.root / "klines_AAAUSDT.json"
    path.write_text(json.dumps([_kline(day) for day in range(3)]))
    assert market.bring(path, "--exchange", "BINANCE")[0] == 0
    assert market.bars().select("symbol", "quote_volume", "trades").unique().rows() == [
        ("BINANCE:AAAUSDT", 170.1, 12)
    ]


def test_the_same_files_again_change_nothing_and_changed_ones_correct(market):
    path = market.csv(*GOOD)
    first = market.bring(path)
    assert first[0] == 0
    head = Lake(market.data / "lakehouse").log.head()
    code, failed, report = market.bring(path)
    assert (code, failed) == (0, None)
    assert len(report["already_imported_by"]) == 1
    assert Lake(market.data / "lakehouse").log.head() == head
    before = Lake(market.data / "lakehouse").snapshot()
    code, _, report = market.bring(market.csv(*GOOD[:4], GOOD[4].replace(",11,", ",11.5,")))
    assert code == 0
    assert report["counts"] == {"BAR_REVISED": 1, "BAR_UNCHANGED": 4}
    assert market.bars().sort("date")["close"].to_list() == [11.0] * 4 + [11.5]
    assert before.table("bars_1d")["close"].to_list() == [11.0] * 5


def test_an_import_without_one_good_bar_fails_and_tells_why(market):
    code, failed, report = market.bring(market.csv("BINANCE:AAAUSDT,2024-01-01,10,9,9,11,5"))
    assert (code, failed) == (3, "PRICE_FETCH_ZERO")
    assert report["counts"] == {"BAR_INVALID": 1}
    assert market.untouched()


def _kline(day):
    start = START_MS + day * 86_400_000
    return [start, "1.5", "2.0", "1.0", "1.75", "100.5", start + 86_399_999, "170.1", 12, "1", "2", "0"]


def test_bars_of_a_frame_with_odd_names_are_mapped(market):
    path = market.root / "odd.parquet"
    frame = pl.DataFrame({"ticker": ["AAAUSDT"], "timestamp": [START_MS], "o": [1.0], "h": [2.0], "l": [1.0],
                          "c": [1.5], "v": [3.0], "adj": [1.25]})  # fmt: skip
    frame.write_parquet(path)
    assert market.bring(path, "--exchange", "BINANCE", "--map", "close=adj")[0] == 0
    assert market.bars()["close"].to_list() == [1.25]
