from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest

from quantctl.contracts.errors import ConfigError, DataUnhealthy
from quantctl.lake.snapshot import Lake
from quantctl.steps.l1_ingestion.metadata import exchange_info_rows, inferred
from quantctl.steps.l1_ingestion.rules import by_provenance, completeness, incomplete
from quantctl.workflows.dataops.importing import import_files
from quantctl.workflows.dataops.requests import ImportRequest, PlainRequest
from quantctl.workflows.dataops.rules import check_rules

INSTANT = pl.Datetime("us", "UTC")


def instrument(name, tick="0.01000000", step="0.00100000", notional="5.00000000", status="TRADING"):
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": tick},
        {"filterType": "LOT_SIZE", "stepSize": step, "minQty": step, "maxQty": "900.00000000"},
        {"filterType": "NOTIONAL", "minNotional": notional},
    ]
    return {
        "symbol": name,
        "baseAsset": name[:-4],
        "quoteAsset": "USDT",
        "status": status,
        "filters": filters,
    }


def midnight(day):
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


@pytest.fixture
def venue(tmp_path, call):
    """`venue(day, instruments, **request)` imports what a venue said at the start of a day."""
    lake = Lake(tmp_path / "lake")

    def told(day, instruments, **request):
        path = tmp_path / f"info_{day}.json"
        path.write_text(json.dumps({
            "serverTime": int(midnight(day).timestamp() * 1000), "symbols": instruments,
        }))  # fmt: skip
        asked = ImportRequest(paths=(str(path),), table="instruments", **request)
        return call(import_files, lake, asked, f"run_{day}_{len(lake.history())}")

    told.lake = lake
    told.rows = lambda: lake.snapshot().table("execution_metadata").sort("symbol", "valid_from")
    return told


D1, D2, D3 = date(2024, 1, 1), date(2024, 2, 1), date(2024, 3, 1)


def current(rows):
    """The newest knowledge of each interval."""
    return rows.unique(["symbol", "valid_from"], keep="last", maintain_order=True)


def test_a_change_closes_the_current_row_and_opens_one_at_the_same_instant(venue):
    venue(D1, [instrument("AAAUSDT")])
    venue(D2, [instrument("AAAUSDT", tick="0.10000000")])
    rows = current(venue.rows())
    assert rows.select("valid_from", "valid_to").rows() == [
        (midnight(D1), midnight(D2)),
        (midnight(D2), None),
    ]
    assert rows["tick_size"].to_list() == [Decimal("0.01"), Decimal("0.1")]
    assert rows["price_precision"].to_list() == [2, 1]


def test_equal_rules_write_nothing_new(venue):
    venue(D1, [instrument("AAAUSDT")])
    before = venue.rows()
    assert venue(D2, [instrument("AAAUSDT")]).metrics["rows"] == 0
    assert venue.rows().equals(before)


def test_a_symbol_absent_from_a_complete_reply_is_delisted_then_and_not_before(venue):
    venue(D1, [instrument("AAAUSDT"), instrument("BBBUSDT")])
    venue(D2, [instrument("AAAUSDT")])
    rows = current(venue.rows()).filter(pl.col("symbol") == "BINANCE:BBBUSDT")
    assert rows.select("status", "valid_from", "valid_to").rows() == [
        ("TRADING", midnight(D1), midnight(D2)), ("DELISTED", midnight(D2), None),
    ]  # fmt: skip
    assert venue(D3, [instrument("AAAUSDT")]).metrics["rows"] == 0


def test_a_symbol_that_comes_back_opens_a_new_interval(venue):
    venue(D1, [instrument("AAAUSDT"), instrument("BBBUSDT")])
    venue(D2, [instrument("AAAUSDT")])
    venue(D3, [instrument("AAAUSDT"), instrument("BBBUSDT")])
    rows = current(venue.rows()).filter(pl.col("symbol") == "BINANCE:BBBUSDT")
    assert rows["status"].to_list() == ["TRADING", "DELISTED", "TRADING"]
    assert rows["valid_to"].to_list() == [midnight(D2), midnight(D3), None]


def test_replies_out_of_order_are_refused_and_nothing_is_committed(venue):
    venue(D2, [instrument("AAAUSDT")])
    before = len(venue.lake.history())
    with pytest.raises(DataUnhealthy) as caught:
        venue(D1, [instrument("AAAUSDT", tick="0.10000000")])
    assert caught.value.code == "SCD2_OVERLAP"
    assert caught.value.exit_code == 3
    assert len(venue.lake.history()) == before


def test_intervals_of_an_instrument_never_overlap(venue):
    for day, tick in ((D1, "0.1"), (D2, "0.01"), (D3, "0.1")):
        venue(day, [instrument("AAAUSDT", tick=tick)])
    rows = current(venue.rows())
    assert rows["valid_to"].to_list()[:-1] == rows["valid_from"].to_list()[1:]
    assert rows["valid_to"].null_count() == 1


def test_dates_before_the_first_row_use_it_backdated(venue, tmp_path, call):
    path = tmp_path / "bars.csv"
    path.write_text("symbol,date,o,h,l,c,v\nBINANCE:AAAUSDT,2024-03-01,1,2,1,1.5,3\n")
    call(import_files, venue.lake, ImportRequest(paths=(str(path),)), "bars")
    venue(D2, [instrument("AAAUSDT")])
    found = [venue.lake.snapshot().metadata(day).select("provenance", "tick_size").row(0) for day in (D1, D3)]
    assert found == [("backdated", 0.01), ("venue", 0.01)]


def test_a_moved_start_needs_a_reason_and_keeps_the_true_time(venue):
    with pytest.raises(ConfigError) as caught:
        venue(D2, [instrument("AAAUSDT")], valid_from=D1)
    assert caught.value.exit_code == 2
    venue(D2, [instrument("AAAUSDT")], valid_from=D1, reason="rules did not change since")
    assert venue.rows().select("valid_from", "known_at").row(0) == (midnight(D1), midnight(D2))


def test_zero_steps_mean_no_rule_and_are_incomplete(venue):
    found = venue(D1, [instrument("AAAUSDT", tick="0.00000000"), instrument("BBBUSDT")])
    assert venue.rows()["tick_size"].null_count() == 1
    assert found.outputs["import_report"]["incomplete"] == ["BINANCE:AAAUSDT"]


def test_a_document_that_is_no_reply_is_refused(venue, tmp_path, call):
    path = tmp_path / "no.json"
    path.write_text('{"symbols": []}')
    with pytest.raises(ConfigError) as caught:
        call(import_files, venue.lake, ImportRequest(paths=(str(path),), table="instruments"), "no")
    assert caught.value.code == "IMPORT_FORMAT"


def test_futures_replies_give_perpetuals_only():
    swap = instrument("AAAUSDT") | {"contractType": "PERPETUAL"}
    swap["filters"][2] = {"filterType": "MIN_NOTIONAL", "notional": "5"}
    dated = instrument("AAAUSDT") | {"contractType": "CURRENT_QUARTER"}
    rows = exchange_info_rows({"symbols": [swap, dated]}, "BINANCE", perpetual=True)
    assert [(r["symbol"], r["min_notional"], r["contract_size"]) for r in rows] == [
        ("BINANCE:AAAUSDT.P", Decimal(5), Decimal(1))
    ]


def test_the_real_reply_is_imported_whole(shared_data, tmp_path, call):
    path = shared_data / "raw" / "binance_spot_exchangeInfo_2024-09-08.json.gz"
    lake = Lake(tmp_path)
    found = call(import_files, lake, ImportRequest(paths=(str(path),), table="instruments"), "real")
    rows = lake.snapshot().table("execution_metadata")
    assert found.metrics["rows"] == rows.height == 1248
    btc = rows.filter(pl.col("symbol") == "BINANCE:BTCUSDT").row(0, named=True)
    assert (btc["tick_size"], btc["lot_size"], btc["min_notional"]) == (
        Decimal("0.01"), Decimal("0.00001"), Decimal(5),
    )  # fmt: skip
    assert btc["valid_from"].date() == date(2024, 9, 8)


def bars(closes, volumes, symbol="BINANCE:AAAUSDT"):
    days = [date(2024, 1, 1 + i) for i in range(len(closes))]
    frame = pl.DataFrame({"symbol": symbol, "date": days, "close": closes, "volume": volumes})
    known = pl.col("date").cast(INSTANT).dt.offset_by("1d").alias("known_at")
    return frame.with_columns(known, *(pl.col("close").alias(c) for c in ("open", "high", "low")))


def test_rules_are_inferred_from_the_decimals_of_bars_up_to_each_date():
    rows = inferred(bars([1.5, 1.25, 1.1], [3.0, 2.0, 0.5]), pl.lit("BINANCE")).sort("valid_from")
    assert rows["tick_size"].to_list() == [Decimal("0.1"), Decimal("0.01"), Decimal("0.01")]
    assert rows["lot_size"].to_list() == [Decimal(1), Decimal(1), Decimal("0.1")]
    assert rows["valid_to"].to_list()[:-1] == rows["valid_from"].to_list()[1:]
    assert set(rows["min_notional_reason"]) == {"NOT_INFERABLE"}
    assert rows["min_notional"].null_count() == 3


def test_a_venue_row_wins_over_an_inferred_one(venue):
    rows = inferred(bars([1.5], [3.0]), pl.lit("BINANCE"))
    venue.lake.commit({"execution_metadata": rows}, txn="x", at=midnight(D1), published=True)
    assert venue.lake.snapshot().metadata(D1)["provenance"].to_list() == ["inferred"]
    venue(D2, [instrument("AAAUSDT")])
    assert venue.lake.snapshot().metadata(D3)["provenance"].to_list() == ["venue"]


SYMBOLS = pl.DataFrame(
    {"symbol": ["X:A", "X:B", "X:C", "X:D"], "asset_type": ["spot", "spot", "equity", "spot"]}
)
RULES = pl.DataFrame({
    "symbol": ["X:A", "X:B", "X:C"], "provenance": ["venue", "inferred", "default"], "tick_size": [0.1] * 3,
    "lot_size": [1.0] * 3, "price_precision": [1] * 3, "min_notional": pl.Series([None] * 3,
        dtype=pl.Float64),
})  # fmt: skip


def test_least_notionals_are_asked_of_crypto_with_venue_rules_only():
    table = completeness(RULES, SYMBOLS, SYMBOLS["symbol"].to_list())
    assert table["complete"].to_list() == [False, True, True, False]
    assert table["missing"].to_list()[0] == ["min_notional"]
    assert by_provenance(table)["none"] == {"symbols": 1, "complete": 0, "incomplete": ["X:D"]}


def test_inferred_rules_count_only_where_they_are_accepted():
    assert incomplete(RULES, SYMBOLS, ["X:B", "X:C"], accept_inferred=True) == []
    assert incomplete(RULES, SYMBOLS, ["X:B", "X:C"], accept_inferred=False) == ["X:B"]


def test_candidates_below_the_floor_of_completeness_fail_without_consent(venue, tmp_path, call):
    path = tmp_path / "bars.csv"
    path.write_text("symbol,date,o,h,l,c,v\nBINANCE:AAAUSDT,2024-01-01,1,2,1,1.5,3\n")
    call(import_files, venue.lake, ImportRequest(paths=(str(path),)), "bars")
    cand = tmp_path / "cand.json"
    cand.write_text(json.dumps([{"symbol": "BINANCE:AAAUSDT", "scanner": "s", "direction": "LONG"}]))
    call(import_files, venue.lake, ImportRequest(paths=(str(cand),), table="candidates"), "cand")
    refused = call(check_rules, venue.lake, PlainRequest(), "check")
    assert (refused.error.code, refused.error.exit_code) == ("METADATA_INCOMPLETE", 3)
    assert refused.outputs["metadata_report"]["candidates"] == {
        "symbols": 1, "share": 0.0, "incomplete": ["BINANCE:AAAUSDT"],
    }  # fmt: skip
    accepted = call(
        check_rules, venue.lake, PlainRequest(), "check", universe={"accept_inferred_metadata": True}
    )
    assert accepted.error is None
    assert accepted.outputs["metadata_report"]["candidates"]["share"] == 1.0


def test_rules_newer_than_the_bars_they_serve_are_told_as_backdated(venue, tmp_path, call):
    path, cand = tmp_path / "bars.csv", tmp_path / "cand.json"
    rows = [f"BINANCE:AAAUSDT,{day},1,2,1,1.5,3" for day in (D1, D3)]
    path.write_text("symbol,date,o,h,l,c,v\n" + "\n".join(rows))
    cand.write_text(json.dumps([{"symbol": "BINANCE:AAAUSDT", "scanner": "s", "direction": "LONG"}]))
    call(import_files, venue.lake, ImportRequest(paths=(str(path),)), "bars")
    call(import_files, venue.lake, ImportRequest(paths=(str(cand),), table="candidates", as_of=D1), "cand")
    venue(D2, [instrument("AAAUSDT")])
    found = call(check_rules, venue.lake, PlainRequest(as_of=D1), "check")
    assert found.error is None
    told = [(f.level, f.code, f.details) for f in found.findings]
    assert told == [("WARN", "METADATA_BACKDATED", {"symbols": 1})]
