"""The run ledger: hash-chained records, appended in the transaction that books them.

Only the head (seq, hash, ts) is needed to append, and it stands in the row of the run, so the cost
of a record does not grow with the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from quantctl.contracts.artifacts import Artifact
from quantctl.contracts.canonical import canonical, parse_strict
from quantctl.contracts.errors import InternalError
from quantctl.contracts.ledger_chain import GENESIS_HASH, seal
from quantctl.lake.state import Reader, each

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

MAX_DATA_BYTES = 16 * 1024


@dataclass(frozen=True)
class Draft:
    """A record before it has a place in the chain."""

    type: str
    status: str
    step: str | None = None
    attempt: int = 1
    code: str | None = None
    inputs: Sequence[dict[str, Any]] = ()
    outputs: Sequence[dict[str, Any]] = ()
    data: dict[str, Any] = field(default_factory=dict)
    span_id: str | None = None


@dataclass(frozen=True)
class Head:
    """Where a run's chain stands, and the facts that are constant in it."""

    run_id: str
    profile: str
    trace_id: str
    seq: int
    hash: str
    ts: str
    attempt: int
    closed: bool = False


def head(session: Session | Connection, run_id: str) -> Head | None:
    """The head of a run's chain, or null when the run has no genesis yet."""
    from sqlalchemy import text

    row = session.execute(
        text(
            "SELECT profile, trace_id, head_seq, head_hash, head_ts, attempt, closed_at FROM runs"
            " WHERE run_id = :r"
        ),
        {"r": run_id},
    ).first()
    if row is None:
        return None
    return Head(run_id, row[0], row[1], row[2], row[3], row[4], row[5], row[6] is not None)


def append(session: Session | Connection, at: Head, drafts: Sequence[Draft], now: datetime) -> Head:
    """Seal `drafts` onto the chain and move the head, all inside the caller's transaction."""
    from sqlalchemy import text

    rows = []
    for draft in drafts:
        ts = max(timestamp(now), at.ts)
        record = seal(_body(at, draft, at.seq + 1, ts), at.hash)
        rows.append(_row(record))
        at = Head(at.run_id, at.profile, at.trace_id, record["seq"], record["hash"], ts, at.attempt)
    each(session, _INSERT, rows)
    session.execute(
        text("UPDATE runs SET head_seq = :s, head_hash = :h, head_ts = :t WHERE run_id = :r"),
        {"s": at.seq, "h": at.hash, "t": at.ts, "r": at.run_id},
    )
    return at


_INSERT = """INSERT INTO run_ledger
    (run_id, seq, ts, type, step, attempt, status, code, body_hash, hash, record)
    VALUES (:run_id, :seq, :ts, :type, :step, :attempt, :status, :code, :body_hash, :hash, :record)"""


def begin(run_id: str, profile: str, trace_id: str) -> Head:
    """The head before the first record."""
    return Head(run_id, profile, trace_id, -1, GENESIS_HASH, "", 1)


def timestamp(moment: datetime) -> str:
    """UTC, RFC 3339, microseconds, `Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _body(at: Head, draft: Draft, seq: int, ts: str) -> dict[str, Any]:
    if len(canonical(draft.data)) > MAX_DATA_BYTES:
        raise InternalError(
            "LEDGER_VALUE", f"data of a {draft.type} record exceeds 16 KiB; it belongs in an artifact",
            where=f"{draft.step}:{draft.code}",
        )  # fmt: skip
    return {
        "v": 1, "seq": seq, "ts": ts, "type": draft.type, "run_id": at.run_id, "profile": at.profile,
        "trace_id": at.trace_id, "span_id": draft.span_id, "step": draft.step, "attempt": draft.attempt,
        "status": draft.status, "code": draft.code, "inputs": list(draft.inputs),
        "outputs": list(draft.outputs), "data": draft.data,
    }  # fmt: skip


def _row(record: dict[str, Any]) -> dict[str, Any]:
    names = ("run_id", "seq", "ts", "type", "step", "attempt", "status", "code", "body_hash", "hash")
    return {name: record[name] for name in names} | {"record": canonical(record).decode()}


def reference(artifact: Artifact) -> dict[str, Any]:
    """How a record names an artifact."""
    return {
        "name": artifact.name,
        "path": artifact.path,
        "sha256": artifact.sha256,
        "rows": artifact.rows,
    }


def records(
    connection: Reader, run_id: str, *, after: int = -1, only: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """The records of a run in sequence, from the state database.

    only : further conditions on the columns of `run_ledger`, each with its one value
    """
    more = "".join(f" AND {condition}" for condition in only or ())
    cursor = connection.execute(
        f"SELECT record FROM run_ledger WHERE run_id = ? AND seq > ?{more} ORDER BY seq",
        (run_id, after, *(only or {}).values()),
    )
    for (line,) in cursor:
        yield parse_strict(line, where=f"run_ledger:{run_id}")


def lines(connection: Reader, run_id: str, *, after: int = -1) -> list[tuple[int, str, str]]:
    """(seq, hash, canonical line) of the records after `after`."""
    cursor = connection.execute(
        "SELECT seq, hash, record FROM run_ledger WHERE run_id = ? AND seq > ? ORDER BY seq", (run_id, after)
    )
    return [(row[0], row[1], row[2]) for row in cursor]
