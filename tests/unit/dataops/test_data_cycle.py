"""The commands of the data cycle on a simulated market, through the command line."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest
from pydantic import ValidationError

from quantctl.contracts.errors import ConfigError
from quantctl.lake.snapshot import Lake
from quantctl.workflows.dataops.audit import audit_health
from quantctl.workflows.dataops.clearing import clear_finding
from quantctl.workflows.dataops.features import backfill_features
from quantctl.workflows.dataops.importing import import_files
from quantctl.workflows.dataops.requests import (
    CandidatesRequest,
    ClearRequest,
    ImportRequest,
    PlainRequest,
    ScopeRequest,
)

LATER = datetime(2026, 1, 2, tzinfo=UTC)
PROFILE = "binance_spot_rating_all_long"


def test_a_cycle_over_bars_in_the_lake_publishes_candidates(market):
    assert market.command("simulate", "--symbols", 30, "--days", 420)[0] == 0
    code, body = market.command("run", "--profile", PROFILE)
    assert (code, body["error"]["code"]) == (2, "FEATURE_SCOPE_REQUIRED")
    assert "--scope" in body["error"]["remedy"]
    words = ("--profile", PROFILE, "--all-symbols", "--yes", "--run-id", "cycle")
    code, body = market.command("run", *words, "--as-of", "2024-02-20")
    assert code == 0
    metrics = body["data"]["metrics"]
    assert list(metrics) == [
        "data.features",
        "data.audit",
        "data.candidates",
        "data.metadata",
        "data.publish",
    ]
    assert metrics["data.candidates"]["as_of"] == "2024-02-20"
    latest = Lake(market.data / "lakehouse").snapshot()
    assert latest.candidates(date(2024, 2, 20), [PROFILE]).height == metrics["data.publish"]["candidates"] > 0
    again = market.command("run", *words, "--as-of", "2024-02-20")
    assert (again[0], Lake(market.data / "lakehouse").snapshot().id) == (0, latest.id)


@pytest.mark.parametrize(
    "model", [ImportRequest, ScopeRequest, CandidatesRequest, PlainRequest, ClearRequest]
)
def test_requests_refuse_what_they_do_not_know(model):
    with pytest.raises(ValidationError, match="Extra inputs"):
        model.model_validate({"as_off": "2024-01-01"})


@pytest.fixture
def lake(tmp_path, call):
    made = Lake(tmp_path / "lake")
    assert call(import_files, made, _bars(tmp_path, 100), "bars").error is None
    return made


def _bars(tmp_path, close):
    path = tmp_path / f"bars_{close}.csv"
    closes = [1.1, 1.2, 1.3, close, 1.2, 1.3, 1.1]
    rows = [f"BINANCE:AAAUSDT,2024-01-0{d},1,200,1,{c},3" for d, c in enumerate(closes, 1)]
    path.write_text("symbol,date,o,h,l,c,v\n" + "\n".join(rows))
    return ImportRequest(paths=(str(path),))


def events(lake, code="RETURN_SPIKE"):
    rows = lake.snapshot(committed=True).table("health_events").filter(pl.col("code") == code)
    return rows.sort("known_at", "event_id")["status"].to_list()


SPIKE = {
    "symbol": "BINANCE:AAAUSDT",
    "code": "RETURN_SPIKE",
    "reason": "redenomination, see notice",
    "actor": "me",
}


def test_an_unchanged_audit_appends_nothing(lake, call):
    assert call(audit_health, lake, PlainRequest(), "a1").metrics["TOXIC"] == 1
    assert call(audit_health, lake, PlainRequest(), "a2").metrics["events"] == 0
    assert events(lake) == ["TOXIC"]


def test_a_cleared_finding_stays_in_the_history_and_no_longer_counts(lake, call):
    call(audit_health, lake, PlainRequest(), "a1")
    cleared = call(clear_finding, lake, ClearRequest(**SPIKE), "c1", now=LATER)
    assert cleared.outputs["health_clearance"]["cleared"]["actor"] == "me"
    assert [f.code for f in cleared.findings] == ["HEALTH_CLEARED"]
    assert events(lake) == ["TOXIC", "CLEARED"]
    assert call(audit_health, lake, PlainRequest(), "a2", now=LATER).metrics == {"OK": 1, "events": 0}
    with pytest.raises(ConfigError) as caught:
        call(clear_finding, lake, ClearRequest(**SPIKE), "c2")
    assert (caught.value.code, caught.value.exit_code) == ("HEALTH_NO_FINDING", 2)


def test_a_replayed_clearance_appends_one_event(lake, call):
    call(audit_health, lake, PlainRequest(), "a1")
    first, again = (call(clear_finding, lake, ClearRequest(**SPIKE), "c1") for _ in range(2))
    assert first.outputs == again.outputs
    assert sorted(events(lake)) == ["CLEARED", "TOXIC"]


def test_corrected_bars_settle_a_hard_finding(lake, call, tmp_path):
    call(audit_health, lake, PlainRequest(), "a1")
    call(import_files, lake, _bars(tmp_path, 1.25), "mended")
    assert call(audit_health, lake, PlainRequest(), "a2", now=LATER).metrics["OK"] == 1
    assert events(lake) == ["TOXIC", "RESOLVED"]


def test_an_audit_of_an_earlier_date_settles_nothing(lake, call):
    call(audit_health, lake, PlainRequest(), "a1")
    assert call(audit_health, lake, PlainRequest(as_of=date(2024, 1, 3)), "a2").metrics["OK"] == 1
    assert events(lake) == ["TOXIC"]


def test_a_backfill_without_scope_names_the_option(lake, call):
    with pytest.raises(ConfigError) as caught:
        call(backfill_features, lake, ScopeRequest(), "f")
    assert "--scope RUN_ID" in caught.value.remedy


def test_a_clearance_needs_a_reason_and_an_actor(market):
    words = ("health", "clear", "BINANCE:AAAUSDT", "--code", "RETURN_SPIKE")
    assert market.command(*words, "--reason", "because", "--actor", "me")[0] == 2
    assert market.command(*words, "--reason", "a redenomination")[0] == 2


def test_the_real_spot_market_is_imported_with_its_defects_counted(shared_data, tmp_path, call):
    path = shared_data / "binance_spot_daily_2021_2022.parquet"
    lake = Lake(tmp_path)
    report = call(import_files, lake, ImportRequest(paths=(str(path),)), "spot").outputs["import_report"]
    assert (report["rows"], report["symbols"]) == (129_451, 203)
    duplicates = {row["symbol"] for row in report["by_symbol"] if row["code"] == "BAR_DUPLICATE"}
    assert duplicates == {"BINANCE:JUVUSDT"}
    call(audit_health, lake, PlainRequest(), "audit", data={"strict": False})
    toxic = lake.snapshot(committed=True).table("health_events").filter(pl.col("code") == "RETURN_SPIKE")
    assert "BINANCE:LUNAUSDT" in set(toxic["symbol"])
    assert toxic.filter(pl.col("symbol") == "BINANCE:LUNAUSDT")["value"].max() > 100_000
