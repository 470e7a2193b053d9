from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from quantctl.contracts.errors import DataUnhealthy
from quantctl.lake.sources.calendars import sessions
from quantctl.steps.l1_ingestion.bars import check_bars, revisions, session_dates

DAYS = sessions("24x7", date(2024, 1, 1), date(2024, 1, 31))
NYSE = sessions("XNYS", date(2024, 1, 1), date(2024, 1, 31))


def offered(rows, calendar="24x7"):
    names = ("symbol", "date", "open", "high", "low", "close")
    frame = pl.DataFrame(
        rows, schema=dict(zip(names, [pl.String, pl.Date, *[pl.Float64] * 4], strict=True)), orient="row"
    )
    return frame.with_columns(
        calendar=pl.lit(calendar), volume=pl.lit(10.0), quote_volume=pl.lit(100.0), trades=pl.lit(3, pl.Int64)
    )


def bar(day, o=10.0, h=12.0, low=9.0, c=11.0, symbol="BINANCE:AUSDT"):
    return (symbol, date(2024, 1, day), o, h, low, c)


def check(frame, days=DAYS, as_of=date(2024, 1, 31), close_only=False, strict=False):
    return check_bars(frame, days, as_of=as_of, close_only=close_only, strict=strict)


def test_identical_rows_collapse_to_one_and_are_counted():
    found = check(offered([bar(2), bar(2), bar(2), bar(3)]))
    assert found.accepted.height == 2
    assert found.counts == {"BAR_DUPLICATE": 2}
    assert found.by_symbol.rows() == [("BINANCE:AUSDT", "BAR_DUPLICATE", 2)]


def test_all_versions_of_a_conflicting_key_go_to_quarantine():
    found = check(offered([bar(2), bar(2, c=11.5), bar(2, c=11.5), bar(3)]))
    assert found.accepted["date"].to_list() == [date(2024, 1, 3)]
    assert found.quarantined["code"].to_list() == ["IMPORT_DUPLICATE_CONFLICT"] * 2
    assert found.counts == {"BAR_DUPLICATE": 1, "IMPORT_DUPLICATE_CONFLICT": 2}


def test_strict_import_stops_at_a_conflict():
    with pytest.raises(DataUnhealthy) as caught:
        check(offered([bar(2), bar(2, c=11.5)]), strict=True)
    assert caught.value.code == "IMPORT_DUPLICATE_CONFLICT"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "broken",
    [bar(2, low=10.5), bar(2, h=10.5), bar(2, c=-1.0), bar(2, o=0.0), bar(2, c=float("nan")), bar(2,
        h=float("inf")),
     bar(2, o=None)],
)  # fmt: skip
def test_contradictory_or_undefined_bars_go_to_quarantine_without_nan(broken):
    found = check(offered([broken, bar(3)]))
    assert found.accepted.height == 1
    assert found.quarantined["code"].to_list() == ["BAR_INVALID"]
    assert not found.quarantined.select(pl.col(pl.Float64).is_nan().any()).to_numpy().any()


def test_close_only_bars_keep_the_close_and_null_the_rest():
    found = check(offered([bar(2, o=None, h=None, low=None)]), close_only=True)
    assert found.accepted.select("open", "high", "low", "close").row(0) == (None, None, None, 11.0)


def test_weekend_bars_of_an_exchange_are_not_on_a_session():
    found = check(offered([bar(5), bar(6), bar(15)], "XNYS"), NYSE)  # Friday, Saturday, a holiday
    assert found.accepted["date"].to_list() == [date(2024, 1, 5)]
    assert found.counts == {"BAR_NOT_ON_SESSION": 2}


def test_bars_after_the_as_of_date_are_unfinished():
    found = check(offered([bar(2), bar(3)]), as_of=date(2024, 1, 2))
    assert found.accepted["date"].to_list() == [date(2024, 1, 2)]
    assert found.counts == {"BAR_UNFINISHED": 1}


def test_bars_are_known_from_the_close_of_their_session():
    assert check(offered([bar(2)])).accepted["known_at"][0] == datetime(2024, 1, 3, tzinfo=UTC)
    assert check(offered([bar(5)], "XNYS"), NYSE).accepted["known_at"][0] == datetime(
        2024, 1, 5, 21, tzinfo=UTC
    )


def test_the_order_of_rows_does_not_matter():
    rows = [bar(2), bar(2), bar(3, c=20.0), bar(4), bar(2, symbol="BINANCE:BUSDT")]
    one, other = check(offered(rows)), check(offered(rows[::-1]))
    assert one.accepted.equals(other.accepted)
    assert one.quarantined.equals(other.quarantined)
    assert one.counts == other.counts


def stamps(code, values):
    frame = pl.DataFrame({"calendar": [code] * len(values), "stamp": values})
    return frame.cast({"stamp": pl.Datetime("us", "UTC")})


def test_an_evening_open_belongs_to_the_session_that_holds_it():
    days = sessions("CMES", date(2024, 3, 1), date(2024, 3, 20))
    evening = datetime(2024, 3, 5, 23, 30, tzinfo=UTC)
    summer = datetime(2024, 3, 12, 22, 30, tzinfo=UTC)  # after the clocks changed the open is an hour earlier
    found = session_dates(stamps("CMES", [evening, summer]), days)
    assert found["date"].to_list() == [date(2024, 3, 6), date(2024, 3, 13)]


def test_a_sunday_evening_of_a_currency_belongs_to_monday():
    days = sessions("24x5", date(2024, 1, 1), date(2024, 1, 31))
    sunday, saturday = datetime(2024, 1, 7, 22, tzinfo=UTC), datetime(2024, 1, 6, 12, tzinfo=UTC)
    assert session_dates(stamps("24x5", [sunday, saturday]), days)["date"].to_list() == [
        date(2024, 1, 8),
        None,
    ]


def test_a_stamp_between_sessions_is_outside():
    noon, night = datetime(2024, 1, 5, 16, tzinfo=UTC), datetime(2024, 1, 5, 23, tzinfo=UTC)
    assert session_dates(stamps("XNYS", [noon, night]), NYSE)["date"].to_list() == [date(2024, 1, 5), None]


def test_only_changed_bars_are_revisions():
    stored = check(offered([bar(2), bar(3)])).accepted
    offered_again = check(offered([bar(2), bar(3, c=11.9), bar(4)])).accepted
    new, revised, unchanged = revisions(stored, offered_again)
    assert new["date"].to_list() == [date(2024, 1, 4)]
    assert revised.select("close", "old_close").rows() == [(11.9, 11.0)]
    assert unchanged == 1
