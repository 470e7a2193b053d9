"""Who is still to be told that a run has ended: an outbox, filled in the transaction that closes the run.

A notice is `OPEN` until it is `SENT` or `DROPPED`. A try is counted before it is made, so a process that
is killed meanwhile leaves a notice that is due again later: it is told at least once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from quantctl.lake import state

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"
_COLUMNS = (
    "run_id", "seq", "channel", "facts", "means", "state", "tries", "due", "sent_at", "problem",
)  # fmt: skip


@dataclass(frozen=True)
class Notice:
    """What is to be told of one end of a run, by one channel.

    seq : of the record `closed`; channel : `command` or `webhook`; facts : what is told;
    means : how; due : not before this time
    """

    run_id: str
    seq: int
    channel: str
    facts: Mapping[str, Any]
    means: Mapping[str, Any]
    state: str
    tries: int
    due: str
    sent_at: str | None
    problem: str | None


def post(
    sql: Session | Connection, settings: Mapping[str, Any] | None, facts: Mapping[str, Any], seq: int, at: str
) -> None:
    """Note whom to tell of an end, if `settings` (section `notify` of the run) name anybody."""
    from sqlalchemy import text

    if not settings or facts["state"] not in settings["on"]:
        return
    for channel, means in _channels(settings).items():
        sql.execute(
            text("INSERT INTO notices (run_id, seq, channel, facts, means, state, tries, due) VALUES"
                 " (:r, :q, :c, :f, :m, 'OPEN', 0, :d) ON CONFLICT (run_id, seq, channel) DO NOTHING"),
            {"r": facts["run_id"], "q": seq, "c": channel, "f": json.dumps(facts), "m": json.dumps(means),
             "d": at},
        )  # fmt: skip


def _channels(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    limits = {"timeout_seconds": settings["timeout_seconds"], "tries": settings["tries"]}
    found: dict[str, dict[str, Any]] = {}
    if settings["command"]:
        found["command"] = {"command": list(settings["command"])} | limits
    if settings["webhook_url_env"]:
        names = {key: settings[key] for key in ("webhook_url_env", "webhook_token_env")}
        found["webhook"] = names | limits
    return found


def known(url: str, *, unsent: bool = False, limit: int = 200) -> list[Notice]:
    """The newest notices first; `unsent`: only those that nobody has got."""
    where = "WHERE state <> 'SENT' " if unsent else ""
    query = f"SELECT {', '.join(_COLUMNS)} FROM notices {where}ORDER BY due DESC, run_id, channel LIMIT ?"
    return [_notice(row) for row in state.rows(url, query, (limit,))]


def _notice(row: Sequence[Any] | state.Row) -> Notice:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Notice(**values | {key: json.loads(values[key]) for key in ("facts", "means")})


def due(sql: Connection, now: datetime, limit: int = 20) -> list[Notice]:
    """Notices to be told now, oldest first."""
    from sqlalchemy import text

    query = (
        f"SELECT {', '.join(_COLUMNS)} FROM notices WHERE state = 'OPEN' AND due <= :now"
        " ORDER BY due, run_id, channel LIMIT :most"
    )
    return [_notice(row) for row in sql.execute(text(query), {"now": stamp(now), "most": limit})]


def claim(sql: Connection, notice: Notice, until: datetime) -> bool:
    """Count a try before it is made; false when another process made it meanwhile.

    until : when the notice is due again if nothing more is heard of this try
    """
    from sqlalchemy import text

    statement = (
        "UPDATE notices SET tries = tries + 1, due = :u, state = 'OPEN'"
        " WHERE run_id = :r AND seq = :q AND channel = :c AND tries = :t AND state <> 'SENT'"
    )
    return bool(sql.execute(text(statement), _key(notice) | {"u": stamp(until), "t": notice.tries}).rowcount)


def sent(sql: Connection, notice: Notice, now: datetime) -> None:
    """It has been told."""
    from sqlalchemy import text

    statement = "UPDATE notices SET state = 'SENT', sent_at = :n, problem = NULL" + _WHERE
    sql.execute(text(statement), _key(notice) | {"n": stamp(now)})


def failed(sql: Connection, notice: Notice, problem: str, again: datetime | None) -> None:
    """A try failed: it is due again then, or given up."""
    from sqlalchemy import text

    statement = "UPDATE notices SET state = :s, problem = :p, due = COALESCE(:d, due)" + _WHERE
    sql.execute(text(statement), _key(notice) | {
        "s": "OPEN" if again else "DROPPED", "p": problem, "d": stamp(again) if again else None,
    })  # fmt: skip


_WHERE = " WHERE run_id = :r AND seq = :q AND channel = :c AND state <> 'SENT'"


def _key(notice: Notice) -> dict[str, Any]:
    return {"r": notice.run_id, "q": notice.seq, "c": notice.channel}


def stamp(moment: datetime) -> str:
    """A moment as the table keeps it."""
    return moment.astimezone(UTC).strftime(STAMP)


def backoff(tries: int) -> timedelta:
    """How long after the try of that number the next one is made: 2, 8, 32, ... seconds, at most an hour."""
    return timedelta(seconds=min(2.0 * 4.0 ** (tries - 1), 3600.0))
