from __future__ import annotations

import json
from datetime import date

import pytest

from quantctl.contracts.errors import DataUnhealthy
from quantctl.lake.snapshot import Lake
from quantctl.workflows.dataops.audit import audit_health
from quantctl.workflows.dataops.importing import import_files
from quantctl.workflows.dataops.publish import publish
from quantctl.workflows.dataops.requests import CandidatesRequest, ImportRequest, PlainRequest

SCANNERS = {
    "up": {"intent": "LONG", "logic": "rating_all"},
    "down": {"intent": "SHORT", "logic": "rating_all"},
}


def record(name="AAAUSDT", **own):
    return {"symbol": f"BINANCE:{name}", "scanner": "up", "direction": "long", "logic": "trend"} | own


@pytest.fixture
def lake(tmp_path, call):
    made = Lake(tmp_path / "lake")
    path = tmp_path / "bars.csv"
    rows = [f"BINANCE:AAAUSDT,2024-01-0{d},1,2,1,1.5,3" for d in (1, 2, 3)]  # a stalled price
    rows += [f"BINANCE:BBBUSDT,2024-01-0{d},1,2,1,1.{d},3" for d in (1, 2, 3)]
    path.write_text("symbol,date,o,h,l,c,v\n" + "\n".join(rows))
    call(import_files, made, ImportRequest(paths=(str(path),)), "bars")
    return made


@pytest.fixture
def offer(lake, tmp_path, call):
    def offered(records, *, name="cand", **request):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(records))
        asked = ImportRequest(paths=(str(path),), table="candidates", scanners=SCANNERS, **request)
        return call(import_files, lake, asked, f"{name}_{len(lake.history())}")

    return offered


def rows_of(lake):
    return lake.snapshot().table("candidates").select("scanner", "symbol", "direction", "logic").rows()


def rejected(outcome):
    return [row["code"] for row in outcome.outputs["candidates_rejected"]["rejected"]]


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (record(direction="SIDEWAYS"), "DIRECTION_INVALID"),
        (record(scanner=None), "CANDIDATE_NO_SCANNER"),
        (record(symbol=""), "SYMBOL_INVALID"),
        (record(symbol="AAAUSDT"), "EXCHANGE_CONFLICT"),
        (record(identity="BINANCE:BBBUSDT"), "IDENTITY_INVALID"),
        (record(asset_type="bond"), "ASSET_TYPE_INVALID"),
        (record(metadata=[1]), "METADATA_INVALID"),
    ],
)
def test_invalid_records_are_dropped_and_listed_or_fail_a_strict_import(lake, offer, broken, code):
    lax = offer([record(), broken])
    assert (lax.error, rejected(lax)) == (None, [code])
    assert [(f.code, f.details) for f in lax.findings] == [(code, {"records": 1})]
    assert rows_of(lake) == [("up", "BINANCE:AAAUSDT", "LONG", "trend")]
    before = len(lake.history())
    strict = offer([record("BBBUSDT"), broken], strict=True)
    assert (strict.error.code, strict.error.exit_code) == ("CANDIDATE_SCHEMA_INVALID", 1)
    assert rejected(strict) == [code]
    assert len(lake.history()) == before


def test_a_missing_direction_is_that_of_the_scanner(lake, offer):
    offer([record(scanner="down", direction=None, logic=None)])
    assert rows_of(lake) == [("down", "BINANCE:AAAUSDT", "SHORT", "rating_all")]


def test_without_scanner_intent_a_missing_direction_is_long_and_marked_or_rejected_by_strict(offer, lake):
    offer([record(scanner="else", direction=None)])
    row = lake.snapshot().table("candidates").row(0, named=True)
    assert row["direction"] == "LONG"
    assert json.loads(row["metadata"])["direction_defaulted"] is True
    assert rejected(offer([record(scanner="else", direction=None)], strict=True)) == ["DIRECTION_INVALID"]


def test_no_valid_record_at_all_fails_and_changes_nothing(lake, offer):
    before = len(lake.history())
    found = offer([record(scanner=None)])
    assert (found.error.code, found.error.exit_code) == ("CANDIDATES_EMPTY", 3)
    assert len(lake.history()) == before


def test_both_legs_of_a_symbol_and_other_dates_stay(lake, offer):
    offer([record(), record(scanner="down", direction="SHORT")])
    offer([record("BBBUSDT")], as_of=date(2024, 1, 2))
    assert len(rows_of(lake)) == 3
    assert lake.snapshot().table("candidates")["as_of"].n_unique() == 2


def test_unknown_keys_go_to_metadata_and_typed_columns_come_from_it(lake, offer):
    offer([record(close=1.5, colour="red", metadata={"recommend_all": 0.4})])
    row = lake.snapshot().table("candidates").row(0, named=True)
    assert (row["close"], row["recommend_all"]) == (1.5, 0.4)
    assert json.loads(row["metadata"]) == {"close": 1.5, "colour": "red", "recommend_all": 0.4}


def test_an_envelope_and_a_bare_list_say_the_same(lake, offer):
    offer({"meta": {}, "data": [record()]})
    assert rows_of(lake) == [("up", "BINANCE:AAAUSDT", "LONG", "trend")]


EASY = {"allow_unknown_liquidity": True, "daily_turnover_min": 0.0, "daily_vol_min": 0.0,
        "accept_inferred_metadata": True}  # fmt: skip


def test_eligibility_of_one_profile_leaves_that_of_another_as_it_was(lake, offer, call):
    legs = [record(), record("BBBUSDT"), record(scanner="down", direction="SHORT")]
    offer([*legs, record("BBBUSDT", scanner="down", direction="SHORT")])

    def ineligible(scanner):
        own = {"discovery": {"scanners": [scanner]}, "universe": EASY}
        call(publish, lake, CandidatesRequest(scanners={}), f"p{len(lake.history())}", **own)
        facts = lake.snapshot().manifest.facts["ineligible"]
        return [(e["scanner"], e["symbol"], e["direction"], e["code"]) for e in facts]

    up, down = (
        ("up", "BINANCE:AAAUSDT", "LONG", "PRICE_STALL"),
        ("down", "BINANCE:AAAUSDT", "SHORT", "PRICE_STALL"),
    )
    assert ineligible("up") == [up]
    assert ineligible("down") == [down, up]
    assert ineligible("up") == [down, up]


def test_a_cycle_without_one_eligible_candidate_leaves_latest_as_it_was(lake, offer, call):
    offer([record("BBBUSDT")])
    before = lake.snapshot().id
    with pytest.raises(DataUnhealthy) as caught:
        call(publish, lake, CandidatesRequest(scanners={}), "none")
    assert (caught.value.code, caught.value.exit_code) == ("SNAPSHOT_EMPTY", 3)
    assert lake.snapshot().id == before


def test_a_strict_audit_fails_for_published_candidates_that_are_not_listed_as_ineligible(lake, offer, call):
    offer([record(), record("BBBUSDT")])
    unlisted = call(audit_health, lake, PlainRequest(), "a1", data={"strict": True})
    assert (unlisted.error.code, unlisted.error.exit_code) == ("HEALTH_UNHEALTHY", 3)
    assert call(audit_health, lake, PlainRequest(), "a2", data={"strict": False}).error is None
    call(publish, lake, CandidatesRequest(scanners={}), "p", universe=EASY)
    assert call(audit_health, lake, PlainRequest(), "a3", data={"strict": True}).error is None
