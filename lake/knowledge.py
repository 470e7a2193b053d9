"""What was knowable when: the one place that compares knowledge times.

A row is visible at K when the session of its date closed at or before K and its `known_at` is at or before
K. A venue that never closes ends its session of date d at d+1 00:00 UTC; no exchange closes later than
that, so only rows dated on the UTC day of K itself need the calendar.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from quantctl.contracts.errors import ContractError
from quantctl.lake.parts import Part, stamp
from quantctl.lake.tables import Table


def end_of_day(day: date) -> datetime:
    """The close of the session of `day` on a venue that never closes: the next midnight, UTC."""
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=UTC)


def decision_time(asof: date, newest: date, knowledge_time: datetime) -> datetime:
    """The instant at which a decision dated `asof` is taken on a snapshot.

    At the snapshot's own as-of date that is its knowledge time (vendor values of the last bar arrive after
    its close); at an earlier date it is the end of that day, so nothing learnt later is seen.
    """
    return knowledge_time if asof >= newest else min(end_of_day(asof), knowledge_time)


def in_utc(at: datetime) -> datetime:
    """`at` in UTC; raises `LAKE_SCHEMA` for an instant without a zone."""
    if at.tzinfo is None:
        raise ContractError("LAKE_SCHEMA", f"{at} has no time zone", where="known_at")
    return at.astimezone(UTC)


def may_see(table: Table, part: Part, at: datetime) -> bool:
    """Whether any row of `part` can be visible at `at`."""
    if part.known_at is not None and part.known_at[0] > stamp(at):
        return False
    return not (table.session and part.time is not None and part.time[0] > stamp(at.date()))


def visible(
    table: Table, part: Part, at: datetime, closed_today: Callable[[], Collection[str]]
) -> list[pl.Expr]:
    """Conditions that leave the rows of `part` that are visible at `at` (UTC); none if all are.

    `closed_today()` gives the symbols whose session dated `at.date()` has closed by `at`.
    """
    conditions: list[pl.Expr] = []
    if part.known_at is not None and part.known_at[1] > stamp(at):
        conditions.append(pl.col("known_at") <= pl.lit(at))
    if table.session and table.time and part.time is not None and part.time[1] >= stamp(at.date()):
        early = pl.col(table.time) < pl.lit(at.date())
        today = pl.col(table.time) == pl.lit(at.date())
        closed = pl.Series(sorted(closed_today()), dtype=pl.String)
        conditions.append(early | (today & pl.col("symbol").is_in(closed.implode())))
    return conditions


def visible_sql(table: Table, at: datetime, closed_today: Collection[str]) -> str:
    """`visible` as a condition of SQL, for any part."""
    instant = f"TIMESTAMPTZ '{stamp(at)}'"
    conditions = ["true" if table.timeless else f"known_at <= {instant}"]
    if table.session and table.time:
        day = f"DATE '{at.date().isoformat()}'"
        names = ", ".join("'" + name.replace("'", "''") + "'" for name in sorted(closed_today))
        today = f" OR ({table.time} = {day} AND symbol IN ({names}))" if names else ""
        conditions.append(f"({table.time} < {day}{today})")
    return " AND ".join(conditions)
