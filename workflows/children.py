"""The children of a batch: their requests, where they stand, and how their ends enter the parent's chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quantctl.contracts.canonical import parse_strict
from quantctl.contracts.ids import check_run_id, trace_id_of
from quantctl.contracts.ledger_chain import body_chain
from quantctl.contracts.records.batch import (
    CHILD_CLOSED,
    CHILD_SKIPPED,
    PIPELINE,
    STAGE,
    BatchArguments,
    Child,
)
from quantctl.contracts.records.run import RunRequest, run_command
from quantctl.lake import leases, ledger, state
from quantctl.lake.ledger import Draft
from quantctl.workflows import book, runs
from quantctl.workflows.runs import TERMINAL, RunStatus
from quantctl.workflows.runtime import Places

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

WEIGHTS = "portfolio_flattened"


def plan_of(request: RunRequest) -> BatchArguments:
    """What a parent run is asked to do."""
    return BatchArguments.model_validate(request.arguments)


def child_id(parent: str, suffix: str) -> str:
    """Run id of a child; `RUN_ID_INVALID` (exit 2) where it would be no run id."""
    return check_run_id(f"{parent}-{suffix}")


def child_request(request: RunRequest, plan: BatchArguments, child: Child) -> RunRequest:
    """The pinned input of a child: what `quantctl run` with its profile and date would be."""
    sleeve, run_id = plan.sleeves[child.profile], child_id(request.run_id, child.suffix)
    places = {key: origin for key, origin in request.origins.items() if key.startswith("paths.")}
    return RunRequest(
        run_id=run_id,
        profile=child.profile,
        trace_id=trace_id_of(run_id),
        pipeline=plan.pipeline,
        created_at=request.created_at,
        as_of=child.as_of,
        annualisation=sleeve.annualisation,
        snapshot=request.snapshot,
        settings=sleeve.settings | {"paths": request.settings["paths"]},
        origins=sleeve.origins | places,
        extends_chain=sleeve.extends_chain,
        profile_sha256=sleeve.profile_sha256,
        code=request.code,
        env=request.env,
        arguments={},
        stages=plan.stages,
        replay=run_command(
            sleeve.options, child.profile, run_id, str(request.snapshot.get("id")), child.as_of, plan.pipeline
        ),
    )


# where a child stands


@dataclass(frozen=True)
class Standing:
    """Where a child stands.

    ended : its ledger is closed and the engine is done with it
    broken : the engine is done with it, its ledger is not closed
    executor : who executes it, "" while it waits in its queue
    fault : code of the fault that it met in another worker, or null
    """

    ended: bool
    broken: bool
    executor: str
    fault: str | None


_STANDING = """SELECT w.status AS engine, w.executor_id AS executor, r.state, r.closed_at,
    (SELECT l.reason FROM run_lives l WHERE l.run_id = w.workflow_uuid ORDER BY l.life DESC LIMIT 1) AS reason
FROM workflow_status w LEFT JOIN runs r ON r.run_id = w.workflow_uuid WHERE w.workflow_uuid = ?"""


def standing(places: Places, run_id: str) -> Standing:
    """Where a child stands now, in one look."""
    with state.reader(places.state_url) as connection:
        row = connection.execute(_STANDING, (run_id,)).fetchone() if connection else None
    if row is None:
        return Standing(False, False, "", None)
    done = row["engine"] in ("SUCCESS", "ERROR", "CANCELLED")
    closed = row["state"] in TERMINAL and row["closed_at"] is not None
    executor = str(row["executor"] or "") if row["engine"] == "PENDING" else ""
    fault = (row["reason"] or "STATE_UNREACHABLE") if executor.startswith(leases.PUT_DOWN) else None
    return Standing(done and closed, done and not closed, executor, fault)


def ids(places: Places, parent: str) -> list[str]:
    """Ids of the children that a batch is to have, in order; none for another run.

    A child may have begun as a run of its own, so it is known by its id, not by who began it.
    """
    request = runs.request_of(places, check_run_id(parent))
    if request is None or request.pipeline != PIPELINE:
        return []
    return [child_id(parent, child["suffix"]) for child in request.arguments["children"]]


def begun(places: Places, parent: str) -> list[RunStatus]:
    """The children of a batch that have begun, by id."""
    return runs.statuses_of(places, ids(places, parent))


def unfinished(places: Places, parent: str) -> list[str]:
    """Children of a run that have begun and not ended, by id."""
    return [child.run_id for child in begun(places, parent) if child.state not in TERMINAL]


def failed_as_booked(places: Places, parent: str) -> list[tuple[str, int]]:
    """(child, attempt) of the children that failed and did not go on since the parent booked that."""
    failed = [child for child in begun(places, parent) if child.state == "FAILED"]
    with state.reader(places.state_url) as connection:
        if connection is None:
            return []
        booked = booked_heads(connection, parent)
        behind = [child for child in failed if booked.get(child.run_id) == _head(connection, child.run_id)]
    return [(child.run_id, child.attempt) for child in behind]


def _head(connection: state.Reader, run_id: str) -> str:
    row = connection.execute("SELECT head_hash FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    return str(row[0]) if row else ""


def booked_heads(connection: state.Reader, parent: str, before_attempt: int | None = None) -> dict[str, str]:
    """Child -> head hash that the parent booked last, in attempts before a given one."""
    rows = connection.execute(
        "SELECT record FROM run_ledger WHERE run_id = ? AND type = 'event' AND code = ? AND attempt < ?"
        " ORDER BY seq",
        (parent, CHILD_CLOSED, before_attempt if before_attempt is not None else 2**31 - 1),
    )
    found = (parse_strict(row[0])["data"] for row in rows)
    return {data["run_id"]: data["head_hash"] for data in found}


# transactions on the parent's chain


def book_end(
    sql: Session | Connection, request: RunRequest, attempt: int, child: Child, known: str | None
) -> dict[str, Any]:
    """Book the end of a child, unless `known`, the head that an earlier attempt booked, is its head still.

    Returns `{state, cancelled}`: how it ended, and whether the batch is to be cancelled.
    """
    data = _end(sql, child_id(request.run_id, child.suffix), child)
    if data["head_hash"] != known:
        _append(sql, request, [Draft("event", "info", STAGE, attempt, CHILD_CLOSED, data=data)])
    cancelled = book.cancellation(sql, request.run_id, attempt) is not None
    return {"state": data["state"], "cancelled": cancelled}


def book_skipped(
    sql: Session | Connection, request: RunRequest, attempt: int, children: Sequence[Child]
) -> int:
    """Book that children never began; returns how many."""
    drafts = [
        Draft("event", "info", STAGE, attempt, CHILD_SKIPPED, data={
            "run_id": child_id(request.run_id, child.suffix), "suffix": child.suffix,
            "profile": child.profile, "as_of": child.as_of, "state": "SKIPPED",
        })
        for child in children
    ]  # fmt: skip
    _append(sql, request, drafts)
    return len(drafts)


def _append(sql: Session | Connection, request: RunRequest, drafts: Sequence[Draft]) -> None:
    head = ledger.head(sql, request.run_id)
    assert head is not None, "a child was booked before its parent's genesis"
    ledger.append(sql, head, drafts, book.now())


def _end(sql: Session | Connection, run_id: str, child: Child) -> dict[str, Any]:
    """What the parent's chain holds of a child. All of it but `head_hash` two equal runs have in common."""
    from sqlalchemy import text

    given = {"r": run_id, "w": WEIGHTS}
    row = sql.execute(
        text("SELECT state, exit_code, code, message, head_seq, head_hash FROM runs WHERE run_id = :r"), given
    ).one()
    bodies = sql.execute(text("SELECT body_hash FROM run_ledger WHERE run_id = :r ORDER BY seq"), given)
    genesis = sql.execute(text("SELECT record FROM run_ledger WHERE run_id = :r AND seq = 0"), given).scalar()
    weights = sql.execute(
        text("SELECT sha256 FROM artifact_index WHERE run_id = :r AND name = :w"), given
    ).scalar()
    return {
        "run_id": run_id, "suffix": child.suffix, "profile": child.profile, "as_of": child.as_of,
        "state": row.state, "exit_code": row.exit_code, "code": row.code,
        "message": row.message[:500] if row.message else None,
        "head_seq": row.head_seq, "head_hash": row.head_hash,
        "body_chain": body_chain({"body_hash": body[0]} for body in bodies),
        "manifest_sha256": _manifest_of(genesis), "weights_sha256": weights,
    }  # fmt: skip


def _manifest_of(genesis: str | None) -> str:
    record: Mapping[str, Any] = parse_strict(genesis or "{}")
    return str(record["data"]["manifest_sha256"])
