"""Trading sessions by product calendar code: the one place that knows the calendar library.

`24x7` is arithmetic and needs no library. `XCRY` and `CRYPTO` are aliases of it and are never passed
through: the library has no such calendar.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl

from quantctl.contracts.errors import ConfigError, DataMissing

ALIASES = {"XCRY": "24x7", "CRYPTO": "24x7"}
LIBRARY_NAMES = {
    "24x7": "24/7", "24x5": "24/5", "XNYS": "XNYS", "CMES": "CMES", "ICEUS": "IEPA", "XEUR": "XEUR",
    "XLON": "XLON", "XFRA": "XFRA", "XTSE": "XTSE",
}  # fmt: skip
_SCHEMA = {
    "code": pl.String(),
    "date": pl.Date(),
    "open": pl.Datetime("us", "UTC"),
    "close": pl.Datetime("us", "UTC"),
}


def calendar_code(name: str) -> str:
    """The product code of a calendar name, aliases resolved (`CALENDAR_UNKNOWN`, exit 2)."""
    code = ALIASES.get(name, name)
    if code not in LIBRARY_NAMES:
        raise ConfigError(
            "CALENDAR_UNKNOWN",
            f"no calendar {name!r}",
            where=name,
            remedy=f"use one of {', '.join(sorted(LIBRARY_NAMES))}",
        )
    return code


def calendar_of(exchange: str, table: dict[str, str]) -> str:
    """Calendar code of an exchange prefix; an unmapped one is `CALENDAR_UNKNOWN`, never a default."""
    if exchange not in table:
        raise ConfigError(
            "CALENDAR_UNKNOWN",
            f"exchange {exchange!r} has no calendar",
            where=f"data.calendars.{exchange}",
            remedy=f"set data.calendars.{exchange} or give --calendar",
        )
    return calendar_code(table[exchange])


def sessions(code: str, start: date, end: date) -> pl.DataFrame:
    """Sessions of `code` with start <= date <= end: code, date, open and close (UTC), by date.

    `24x5`: a session is the UTC date of (stamp + 4 h), so that Sunday evening belongs to Monday.
    Raises `CALENDAR_RANGE` outside what the library covers.
    """
    code = calendar_code(code)
    if code == "24x7":
        days = pl.date_range(start, end, "1d", eager=True)
        opens = days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        return _frame(code, days, opens, opens.dt.offset_by("1d"))
    if code == "24x5":
        days = pl.date_range(start, end, "1d", eager=True)
        days = days.filter(days.dt.weekday() <= 5)
        opens = days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").dt.offset_by("-4h")
        return _frame(code, days, opens, opens.dt.offset_by("24h"))
    return _from_library(code, start, end)


def no_sessions(code: str, start: date, end: date, why: str = "") -> DataMissing:
    """The error (`CALENDAR_RANGE`, exit 3) of dates that a calendar does not cover."""
    return DataMissing(
        "CALENDAR_RANGE", f"calendar {code} has no sessions from {start} to {end}{why}",
        where=code, remedy="correct or remove the rows with dates that no exchange has known",
    )  # fmt: skip


def library_version() -> str:
    """Version of the calendar library, recorded with materialised sessions."""
    from importlib.metadata import version

    return version("exchange_calendars")


def _from_library(code: str, start: date, end: date) -> pl.DataFrame:
    import exchange_calendars

    try:
        calendar: Any = exchange_calendars.get_calendar(
            LIBRARY_NAMES[code],
            start=(start - timedelta(days=7)).isoformat(),
            end=(end + timedelta(days=7)).isoformat(),
        )
    except (exchange_calendars.errors.CalendarError, ValueError, OverflowError) as problem:
        raise no_sessions(code, start, end, f": {problem}") from None
    schedule = calendar.schedule.loc[start.isoformat() : end.isoformat()]
    days = pl.Series([stamp.date() for stamp in schedule.index], dtype=pl.Date)
    opens, closes = (_instants(schedule[column]) for column in ("open", "close"))
    return _frame(code, days, opens, closes)


def _instants(column: Any) -> pl.Series:
    stamps = [stamp.to_pydatetime() for stamp in column]
    return pl.Series(stamps, dtype=pl.Datetime("us", "UTC"))


def _frame(code: str, days: pl.Series, opens: pl.Series, closes: pl.Series) -> pl.DataFrame:
    columns = {"date": days, "open": opens, "close": closes}
    return pl.DataFrame(columns).select(pl.lit(code).alias("code"), *columns).cast(_SCHEMA)  # type: ignore[arg-type]
