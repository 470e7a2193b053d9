"""Schedules as they were applied, and the times at which they fired: tables of the state database.

Times are UTC texts `YYYY-MM-DDTHH:MM:SSZ`, which sort as they follow each other. A time is `DUE` until it
is decided: `STARTED`, `HELD` (the run before it did not succeed), `REFUSED` (its run could not be made)
or `MISSED`. Statements that write take the caller's transaction.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from quantctl.lake import state

if TYPE_CHECKING:
    from sqlalchemy import Connection

STAMP = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Schedule:
    """When a profile runs.

    cron : null where it follows the times of `leader`
    leader : profile whose run of the same time must have succeeded before
    late_seconds : how late a time may be noticed and still be on time
    noticed_until : times up to this one are in `schedule_times`, or passed before they counted
    """

    profile: str
    pipeline: str
    cron: str | None
    leader: str | None
    timezone: str
    enabled: bool
    misfire: str
    late_seconds: float
    applied_at: str = ""
    noticed_until: str = ""

    @property
    def definition(self) -> tuple[object, ...]:
        """All but what applying and firing note."""
        return tuple(value for name, value in asdict(self).items() if name not in _NOTED)

    @property
    def when(self) -> tuple[object, ...]:
        """What decides which times count."""
        return self.cron, self.leader, self.timezone, self.enabled


_NOTED = ("applied_at", "noticed_until")
_COLUMNS = tuple(Schedule.__dataclass_fields__)


@dataclass(frozen=True)
class Time:
    """A time of a schedule, and what came of it."""

    profile: str
    fire: str
    run_id: str
    state: str
    code: str | None = None
    reason: str | None = None
    decided_at: str | None = None


_TIME_COLUMNS = tuple(Time.__dataclass_fields__)


def stamp(moment: datetime) -> str:
    """A moment as the tables keep it."""
    return moment.astimezone(UTC).strftime(STAMP)


def moment(text: str) -> datetime:
    """The inverse of `stamp`."""
    return datetime.strptime(text, STAMP).replace(tzinfo=UTC)


def run_id_of(profile: str, fire: datetime) -> str:
    """Id of the run that a time starts: the same in every process, so there is never a second one."""
    return f"{profile}_{fire.astimezone(UTC):%Y%m%d-%H%M%S}"


def applied(url: str) -> dict[str, Schedule]:
    """Schedules by profile; none before the first `schedule apply`."""
    rows = state.rows(url, f"SELECT {', '.join(_COLUMNS)} FROM schedules ORDER BY profile")
    return {row[0]: _schedule(row) for row in rows}


def times(url: str, profile: str | None = None, limit: int = 50) -> list[Time]:
    """The newest times first."""
    where, given = ("WHERE profile = ? ", [profile]) if profile is not None else ("", [])
    query = (
        f"SELECT {', '.join(_TIME_COLUMNS)} FROM schedule_times {where}ORDER BY fire DESC, profile LIMIT ?"
    )
    return [Time(*row) for row in state.rows(url, query, [*given, limit])]


def last_times(url: str) -> dict[str, Time]:
    """The newest time of each profile."""
    query = (
        f"SELECT {', '.join(_TIME_COLUMNS)} FROM schedule_times t"
        " WHERE fire = (SELECT max(fire) FROM schedule_times l WHERE l.profile = t.profile)"
    )
    return {row[0]: Time(*row) for row in state.rows(url, query)}


def _schedule(row: state.Row) -> Schedule:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Schedule(**values | {"enabled": bool(values["enabled"])})


def alone(sql: Connection) -> None:
    """Wait until nobody else changes several schedules, and be the one until the transaction ends.

    Two that change them in different orders would wait for each other for ever. SQLite has one writer.
    """
    from sqlalchemy import text

    if sql.dialect.name == "postgresql":
        sql.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('quantctl/schedules', 0))"))


def put(sql: Connection, schedule: Schedule) -> None:
    """Add a schedule, or replace the one of its profile."""
    from sqlalchemy import text

    names = ", ".join(_COLUMNS)
    marks = ", ".join(f":{name}" for name in _COLUMNS)
    changes = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])
    statement = (
        f"INSERT INTO schedules ({names}) VALUES ({marks}) ON CONFLICT (profile) DO UPDATE SET {changes}"
    )
    sql.execute(text(statement), asdict(schedule) | {"enabled": int(schedule.enabled)})


def remove(sql: Connection, profile: str) -> None:
    """Remove a schedule, and the times of it that nobody has decided; what it started stays known."""
    from sqlalchemy import text

    sql.execute(text("DELETE FROM schedules WHERE profile = :p"), {"p": profile})
    drop_due(sql, profile)


def drop_due(sql: Connection, profile: str) -> None:
    """Forget the times of a profile that nobody has decided."""
    from sqlalchemy import text

    sql.execute(text("DELETE FROM schedule_times WHERE profile = :p AND state = 'DUE'"), {"p": profile})


def read(sql: Connection) -> dict[str, Schedule]:
    """Schedules by profile, in the caller's transaction."""
    from sqlalchemy import text

    rows = sql.execute(text(f"SELECT {', '.join(_COLUMNS)} FROM schedules ORDER BY profile")).fetchall()
    return {row[0]: _schedule(row) for row in rows}


def move(sql: Connection, schedule: Schedule, until: str) -> bool:
    """Count times up to `until` as noticed; false when another worker was first, or it was applied anew."""
    from sqlalchemy import text

    statement = (
        "UPDATE schedules SET noticed_until = :u"
        " WHERE profile = :p AND noticed_until = :old AND applied_at = :a"
    )
    given = {
        "u": until, "p": schedule.profile, "old": schedule.noticed_until, "a": schedule.applied_at,
    }  # fmt: skip
    return bool(sql.execute(text(statement), given).rowcount == 1)


def add(sql: Connection, time: Time) -> None:
    """Note a time; one that is known stays as it is."""
    from sqlalchemy import text

    names = ", ".join(_TIME_COLUMNS)
    marks = ", ".join(f":{name}" for name in _TIME_COLUMNS)
    statement = (
        f"INSERT INTO schedule_times ({names}) VALUES ({marks}) ON CONFLICT (profile, fire) DO NOTHING"
    )
    sql.execute(text(statement), asdict(time))


def due(sql: Connection) -> list[Time]:
    """Times that nobody has decided, oldest first."""
    from sqlalchemy import text

    query = (
        f"SELECT {', '.join(_TIME_COLUMNS)} FROM schedule_times WHERE state = 'DUE' ORDER BY fire, profile"
    )
    return [Time(*row) for row in sql.execute(text(query))]


def time_of(sql: Connection, profile: str, fire: str) -> Time | None:
    """One time of a profile."""
    from sqlalchemy import text

    query = f"SELECT {', '.join(_TIME_COLUMNS)} FROM schedule_times WHERE profile = :p AND fire = :f"
    row = sql.execute(text(query), {"p": profile, "f": fire}).fetchone()
    return None if row is None else Time(*row)


def decide(
    sql: Connection, time: Time, state_name: str, now: str, code: str | None = None, reason: str | None = None
) -> None:
    """Say what came of a time; one that is decided stays as it is.

    A time that started its run while its schedule was removed is noted all the same: the run is there.
    """
    from sqlalchemy import text

    if state_name == "STARTED":
        add(sql, time)
    sql.execute(
        text("UPDATE schedule_times SET state = :s, code = :c, reason = :r, decided_at = :n"
             " WHERE profile = :p AND fire = :f AND state = 'DUE'"),
        {"s": state_name, "c": code, "r": reason, "n": now, "p": time.profile, "f": time.fire},
    )  # fmt: skip
