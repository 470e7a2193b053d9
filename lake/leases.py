"""Who executes runs, and the leases by which several workers share a Postgres.

On SQLite the holder of the worker lock is alive, and nobody else. On Postgres every worker has a row in
`workers` that it renews; it is alive until the row expires. All times are the database's clock, so the
machines' clocks don't matter. Statements that write take the caller's transaction.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quantctl.lake import lock, state

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

LONG_LIVED = "worker-"  # how names of workers begin that serve until they are stopped
PUT_DOWN = "put-down:"  # stands before the executor of a run that met a fault and waits for `resume`
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_STAMP = """to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def live_workers(url: str, lock_path: Path) -> frozenset[str]:
    """Names of the workers that are alive now. Raises `STATE_UNREACHABLE` when Postgres is away."""
    if not state.is_postgres(url):
        holder = lock.holder(lock_path)
        return frozenset([holder] if holder else [])
    return frozenset(row[0] for row in state.rows(url, f"SELECT worker FROM workers WHERE expires > {_NOW}"))


def long_lived(workers: frozenset[str]) -> bool:
    """Whether one of them takes up whatever is queued or left behind."""
    return any(worker.startswith(LONG_LIVED) for worker in workers)


def sign_in(sql: Connection, worker: str, seconds: float) -> int | None:
    """Take the seat of `worker` for `seconds`; null while another process of that name is alive.

    Returns the epoch: how often the seat was taken. Only its last holder can renew it.
    """
    from sqlalchemy import text

    epoch = sql.execute(text(_SIGN_IN), {"w": worker, "ms": int(seconds * 1000)}).scalar()
    return None if epoch is None else int(epoch)


_SIGN_IN = f"""
INSERT INTO workers AS known (worker, started, epoch, heartbeat, expires)
VALUES (:w, {_STAMP}, 1, {_NOW}, {_NOW} + :ms)
ON CONFLICT (worker) DO UPDATE SET started = excluded.started, ended = NULL, epoch = known.epoch + 1,
    heartbeat = excluded.heartbeat, expires = excluded.expires
WHERE known.expires <= {_NOW}
RETURNING epoch"""


def renew(sql: Connection, worker: str, epoch: int, seconds: float) -> bool:
    """Give a sign of life; false when another process has taken the seat meanwhile."""
    from sqlalchemy import text

    given = {"w": worker, "e": epoch, "ms": int(seconds * 1000)}
    return sql.execute(text(_RENEW), given).rowcount == 1


_RENEW = f"""
UPDATE workers SET heartbeat = {_NOW}, expires = {_NOW} + :ms WHERE worker = :w AND epoch = :e"""


def sign_out(sql: Connection, worker: str, epoch: int) -> None:
    """Give the seat up: what it left pending may be adopted at once."""
    from sqlalchemy import text

    sql.execute(text(_SIGN_OUT), {"w": worker, "e": epoch})


_SIGN_OUT = f"""
UPDATE workers SET ended = {_STAMP}, heartbeat = {_NOW}, expires = {_NOW} WHERE worker = :w AND epoch = :e"""


def adopt(
    sql: Connection, worker: str, version: str, only: str | None = None, *, put_down: bool = False
) -> list[str]:
    """Put what dead workers left pending into its queue again, whence a live worker takes it, oldest first.

    The row of a workflow changes hands in one statement: of several workers that adopt it one wins, and
    the dead one, should it wake, finds the token of its execution gone (`owns`).

    worker : who adopts; its own runs are not orphans, even if it slept past its lease just now
    only : a run, with its children; put_down : also what met a fault and waits for `resume`
    """
    from sqlalchemy import text

    given = {"w": worker, "version": version, "only": only, "put_down": put_down, "prefix": PUT_DOWN}
    return [str(row[0]) for row in sql.execute(text(_ADOPT), given)]


_ADOPT = f"""
WITH orphans AS (
    SELECT w.workflow_uuid FROM workflow_status w
    WHERE w.status = 'PENDING' AND w.application_version = :version AND w.executor_id <> :w
      AND (CAST(:only AS TEXT) IS NULL OR :only IN (w.workflow_uuid, w.parent_workflow_id))
      AND (:put_down OR NOT starts_with(w.executor_id, :prefix))
      AND NOT EXISTS (SELECT 1 FROM workers k WHERE k.worker = w.executor_id AND k.expires > {_NOW})
    ORDER BY w.created_at, w.workflow_uuid
    FOR NO KEY UPDATE OF w SKIP LOCKED)
UPDATE workflow_status w
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL, updated_at = {_NOW},
    queue_name = coalesce(w.queue_name, '_dbos_internal_queue')
FROM orphans o WHERE w.workflow_uuid = o.workflow_uuid
RETURNING w.workflow_uuid"""


def requeue(sql: Connection, worker: str, run_id: str) -> None:
    """Put a run into its queue again that this worker dropped while the database was away."""
    from sqlalchemy import text

    sql.execute(text(_REQUEUE), {"w": worker, "r": run_id})


_REQUEUE = f"""
UPDATE workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL, updated_at = {_NOW}
WHERE workflow_uuid = :r AND executor_id = :w AND status = 'PENDING'"""


def owns(sql: Connection | Session, run_id: str, token: str) -> bool:
    """Whether an execution still has its run; the row stays locked until the transaction ends.

    token : what the engine wrote when it handed the run to this execution; every hand-over changes it
    """
    from sqlalchemy import text

    query = "SELECT owner_xid FROM workflow_status WHERE workflow_uuid = :r FOR NO KEY UPDATE"
    return sql.execute(text(query), {"r": run_id}).scalar() == token


def alone(sql: Connection, run_id: str) -> None:
    """Wait until no other transaction is alone with this run, and be it until this one ends."""
    from sqlalchemy import text

    key = f"quantctl/change/{run_id}"
    sql.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key})


def put_down(sql: Connection, run_id: str, token: str) -> None:
    """Leave a run that met a fault to `resume` or to the next worker that starts."""
    from sqlalchemy import text

    sql.execute(
        text("UPDATE workflow_status SET executor_id = :prefix || executor_id"
             " WHERE workflow_uuid = :r AND owner_xid = :t AND status = 'PENDING'"),
        {"prefix": PUT_DOWN, "r": run_id, "t": token},
    )  # fmt: skip
