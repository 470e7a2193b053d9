"""Runs of another workflow protocol: told apart, and adopted when that is asked and possible.

The protocol says which stages run in which order. A run carries that of the code that started it; a
worker of another one leaves it alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.records.run import PROTOCOL, RunRequest
from quantctl.lake import leases, ledger, state
from quantctl.lake.ledger import Draft
from quantctl.workflows import book, children, runs
from quantctl.workflows.registry import build
from quantctl.workflows.runtime import Places, Runtime

if TYPE_CHECKING:
    from sqlalchemy import Connection


def version_of(places: Places, run_id: str) -> str | None:
    """The protocol that a run follows now; null where the engine does not know it."""
    with state.reader(places.state_url) as connection:
        if connection is None:
            return None
        row = connection.execute(
            "SELECT application_version FROM workflow_status WHERE workflow_uuid = ?", (run_id,)
        ).fetchone()
    return row["application_version"] if row else None


def check(places: Places, run_id: str) -> None:
    """Refuse a run of another protocol (`RUN_VERSION_MISMATCH`, exit 2)."""
    theirs = version_of(places, run_id)
    if theirs in (None, PROTOCOL):
        return
    if runs.require_status(places, run_id).state == "FAILED":
        remedy = "retry it with the version that started it, or start it again under a new id"
    else:
        remedy = (
            "resume it with the version that started it, or under this one:"
            f" quantctl resume {run_id} --adopt-version"
        )
    raise _mismatch(run_id, theirs, "", remedy)


def check_idle(places: Places, run_id: str) -> None:
    """Refuse a run that a live worker of another protocol executes (`RUN_VERSION_MISMATCH`, exit 2)."""
    theirs, worker = version_of(places, run_id), runs.require_status(places, run_id).worker
    if theirs not in (None, PROTOCOL) and worker is not None:
        raise _executed(run_id, theirs, worker)


def _executed(run_id: str, theirs: str | None, worker: str) -> ConfigError:
    return _mismatch(
        run_id, theirs, f", and {worker} executes it",
        f"quantctl status {run_id} --follow; or stop {worker}, then repeat the command",
    )  # fmt: skip


def _mismatch(run_id: str, theirs: str | None, more: str, remedy: str) -> ConfigError:
    message = f"run {run_id} follows protocol {theirs}, this is {PROTOCOL}{more}"
    return ConfigError("RUN_VERSION_MISMATCH", message, where=run_id, remedy=remedy)


def check_adoptable(request: RunRequest) -> None:
    """Refuse a run whose stages are not the first ones of this version (`RUN_VERSION_STAGES`, exit 2)."""
    ours = [stage.id for stage in build(request.pipeline).stages]
    for index, theirs in enumerate(request.stages):
        here = ours[index] if index < len(ours) else "none"
        if here != theirs:
            raise ConfigError(
                "RUN_VERSION_STAGES",
                f"stage {index + 1} of run {request.run_id} is {theirs}, in this version it is {here}",
                where=theirs,
                remedy="resume it with the version that started it, or start it again under a new id",
            )


def adopt(runtime: Runtime, run_id: str) -> bool:
    """Let a run, with its children, go on under this protocol, and book that: one transaction, so once.

    On Postgres what nobody executes is put into its queue again by the same transaction, so that a worker
    of the other protocol which wakes has lost it. Returns whether it was of another protocol until now.
    Raises `RUN_VERSION_STAGES` where the stages differ, `RUN_VERSION_MISMATCH` while a worker executes it.
    """
    family = [run_id, *children.unfinished(runtime.places, run_id)]
    requests = [request for member in family if (request := runs.request_of(runtime.places, member))]
    for request in requests:
        check_adoptable(request)
    with runtime.engine.begin() as sql:
        adopted = [_adopt(runtime, sql, request) for request in requests]
    return any(adopted)


def _adopt(runtime: Runtime, sql: Connection, request: RunRequest) -> bool:
    """Adopt one run in the caller's transaction; false where it is of this protocol already."""
    from sqlalchemy import text

    run_id = request.run_id
    given = {"r": run_id, "v": PROTOCOL}
    query = "SELECT application_version FROM workflow_status WHERE workflow_uuid = :r"
    theirs = sql.execute(text(query + (" FOR UPDATE" if runtime.shared else "")), given).scalar()
    if theirs in (None, PROTOCOL):
        return False
    if runtime.shared:
        leases.requeue(sql, runtime.worker, run_id)  # of an earlier process whose name we have
        leases.adopt(sql, runtime.worker, str(theirs), run_id, put_down=True)
        query = "SELECT executor_id FROM workflow_status WHERE workflow_uuid = :r AND status = 'PENDING'"
        if worker := sql.execute(text(query), given).scalar():
            raise _executed(run_id, theirs, str(worker))
    sql.execute(text("UPDATE workflow_status SET application_version = :v WHERE workflow_uuid = :r"), given)
    book.genesis(sql, request)
    head = ledger.head(sql, run_id)
    assert head is not None
    facts = {"from": theirs, "to": PROTOCOL}
    adopted = Draft("event", "info", None, head.attempt, "VERSION_ADOPTED", data=facts)
    ledger.append(sql, head, [adopted], book.now())
    return True
