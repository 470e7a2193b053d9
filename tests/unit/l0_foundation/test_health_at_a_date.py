from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from quantctl.contracts.settings.data import DataSettings
from quantctl.lake.sources.calendars import sessions
from quantctl.steps.l0_foundation.health import judge

START, DAYS = date(2024, 1, 1), 60
LAST = START + timedelta(days=DAYS - 1)
INSTANT = pl.Datetime("us", "UTC")
A = "BINANCE:AAAUSDT"


def end_of(day):
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def series(days=DAYS, **own):
    """Healthy bars of one symbol; `own` maps column -> {position: value}."""
    rows = [
        {"symbol": A, "date": START + timedelta(days=i), "open": 10.0, "high": 12.0, "low": 9.0,
         "close": 10.0 + (i % 7) / 10, "volume": 100.0 + i % 5}
        for i in range(days)
    ]  # fmt: skip
    for column, values in own.items():
        for i, value in values.items():
            rows[i][column] = value
    return pl.DataFrame(rows)


def health(bars, as_of=LAST, calendar="24x7", *, metadata=None, events=None, **settings):
    days = sessions(calendar, date(2023, 1, 1), date(2024, 12, 31))
    symbols = pl.DataFrame({"symbol": [A], "calendar": [calendar]})
    return judge(
        bars, days, symbols, as_of=as_of, at=end_of(as_of), settings=DataSettings.model_validate(settings),
        metadata=metadata, events=events,
    )  # fmt: skip


def verdict(*args, **options):
    row = health(*args, **options).verdicts.row(0, named=True)
    return row["status"], row["code"], row["eligible"]


def test_a_complete_history_is_ok():
    assert verdict(series()) == ("OK", None, True)


def test_no_bars_are_missing():
    assert verdict(series().clear()) == ("MISSING", "DATA_MISSING", False)


@pytest.mark.parametrize(
    ("bars", "code"),
    [
        (series(close={30: 70.0}, high={30: 80.0}), "RETURN_SPIKE"),
        (series(close={30: -1.0}, low={30: -2.0}), "PRICE_NONPOSITIVE"),
        (series(low={30: 11.0}), "OHLC_INVALID"),
        (series(high={30: 9.5}), "OHLC_INVALID"),
        (series(close=dict.fromkeys((57, 58, 59), 10.0)), "PRICE_STALL"),
        (series(volume={59: 5000.0}), "VOLUME_SPIKE"),
        (series(volume=dict.fromkeys(range(59), 100.0) | {59: 201.0}), "VOLUME_SPIKE"),
    ],
)
def test_toxic_bars_are_never_eligible(bars, code):
    assert verdict(bars) == ("TOXIC", code, False)
    assert verdict(bars, strict=False) == ("TOXIC", code, False)


@pytest.mark.parametrize(
    "bars",
    [
        series(close={30: 21.0}, high={30: 22.0}),  # a large return only warns
        series(close=dict.fromkeys((58, 59), 10.0)),
        series(close=dict.fromkeys((55, 56, 57), 10.0)),  # a stall that is over
        series(volume={30: 5000.0}),  # only the last volume counts
        series(days=20, volume={19: 5000.0}),  # fewer than 21 bars to compare with
        series(volume=dict.fromkeys(range(59), 100.0) | {59: 200.0}),
    ],
)
def test_what_is_not_toxic(bars):
    assert verdict(bars, bars["date"].max())[2] is True


def test_reasons_state_value_threshold_and_session():
    found = health(series(close={30: 70.0}, high={30: 80.0})).findings.row(0, named=True)
    assert (found["code"], found["severity"], found["threshold"]) == ("RETURN_SPIKE", "hard", 5.0)
    assert found["session_date"] == START + timedelta(days=30)
    assert found["value"] == pytest.approx(70.0 / 10.1 - 1)


def test_a_large_return_is_a_warning_with_its_own_code():
    found = health(series(close={30: 21.0}, high={30: 22.0}))
    assert found.findings.select("code", "severity").rows() == [("RETURN_LARGE", "warn")]
    assert found.verdicts["status"].to_list() == ["OK"]


def test_a_later_spike_excludes_nobody_from_an_earlier_decision():
    bars = series(close={50: 70.0}, high={50: 80.0})
    assert verdict(bars, START + timedelta(days=49))[0] == "OK"
    assert verdict(bars, START + timedelta(days=50))[0] == "TOXIC"


def test_age_counts_from_the_close_of_the_last_bar_to_the_decision():
    assert verdict(series(), LAST + timedelta(days=7))[0] != "STALE"
    late = health(series(), LAST + timedelta(days=8))
    assert late.verdicts.select("status", "code", "value", "threshold").row(0) == (
        "STALE", "DATA_STALE", 192.0, 168.0,
    )  # fmt: skip


def test_gaps_beyond_the_tolerance_degrade_and_exclude_under_strict_only():
    bars = series().filter(~pl.col("date").is_in([START + timedelta(days=i) for i in (20, 21, 25, 26, 30)]))
    settings = {"gaps": {"tolerated": {"24x7": 2}}}
    assert verdict(bars, strict=True, **settings) == ("DEGRADED_GAPS", "DATA_GAPS", False)
    assert verdict(bars, strict=False, **settings) == ("DEGRADED_GAPS", "DATA_GAPS", True)
    assert verdict(bars, gaps={"tolerated": {"24x7": 5}})[0] == "OK"


def test_closed_markets_are_no_gap_and_no_delay():
    days = sessions("XNYS", START, LAST)["date"]
    bars = series().filter(pl.col("date").is_in(days.implode()))
    friday = date(2024, 2, 23)
    assert verdict(bars.filter(pl.col("date") <= friday), friday + timedelta(days=2), "XNYS")[2] is True


def rules(status, provenance="venue"):
    return pl.DataFrame({"symbol": [A], "status": [status], "provenance": [provenance]})


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("TRADING", ("OK", None, True)),
        ("BREAK", ("HALTED", "VENUE_HALTED", False)),
        ("DELISTED", ("DELISTED", "VENUE_DELISTED", False)),
        ("CLOSE", ("DELISTED", "VENUE_DELISTED", False)),
    ],
)
def test_the_venue_says_what_is_halted_or_delisted(status, expected):
    assert verdict(series(), metadata=rules(status)) == expected
    assert verdict(series(), metadata=rules(status), strict=False) == expected
    found = health(series(), metadata=rules(status)).findings
    assert [tuple(row) for row in found.select("code", "severity", "reason").rows()] == (
        [] if expected[1] is None else [(expected[1], "hard", status)]
    )


def test_a_backdated_status_is_no_evidence():
    assert verdict(series(), metadata=rules("BREAK", "backdated"))[0] == "OK"


def test_the_worst_status_decides():
    toxic = series(close={30: 70.0}, high={30: 80.0})
    assert verdict(toxic, LAST + timedelta(days=30), metadata=rules("DELISTED"))[0] == "TOXIC"
    assert verdict(series(), LAST + timedelta(days=30), metadata=rules("DELISTED"))[0] == "DELISTED"
    assert verdict(series(), LAST + timedelta(days=30), metadata=rules("BREAK"))[0] == "HALTED"


def cleared(code, day, status="CLEARED"):
    return pl.DataFrame({
        "symbol": [A], "code": [code], "status": [status], "session_date": [day], "event_id": ["e"],
        "known_at": pl.Series([end_of(day)], dtype=INSTANT),
    })  # fmt: skip


TWICE = series(close={30: 70.0, 50: 75.0}, high={30: 80.0, 50: 80.0})


def test_bars_that_a_person_answered_for_no_longer_count_but_later_ones_do():
    early, late = START + timedelta(days=40), LAST
    assert verdict(TWICE, early, events=cleared("RETURN_SPIKE", early)) == ("OK", None, True)
    assert verdict(TWICE, events=cleared("RETURN_SPIKE", early))[:2] == ("TOXIC", "RETURN_SPIKE")
    assert verdict(TWICE, events=cleared("RETURN_SPIKE", late))[0] == "OK"


def test_a_clearance_answers_for_its_own_code_only():
    both = series(close={30: 70.0}, high={30: 80.0}, low={40: 11.0})
    assert verdict(both, events=cleared("RETURN_SPIKE", LAST))[:2] == ("TOXIC", "OHLC_INVALID")


def test_an_audited_reason_alone_clears_nothing():
    assert verdict(TWICE, events=cleared("RETURN_SPIKE", LAST, "TOXIC"))[0] == "TOXIC"
