"""Starting, attaching to, resuming, retrying and cancelling runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quantctl.contracts.errors import ConfigError, DataMissing
from quantctl.contracts.ids import check_run_id
from quantctl.contracts.records.run import RunRequest
from quantctl.lake import leases, state
from quantctl.workflows import engine_rows, unrecorded
from quantctl.workflows.runtime import Places

TERMINAL = ("SUCCESS", "FAILED", "CANCELLED")
PAGE = 200  # runs that are looked at together


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands, as any reader sees it.

    state : QUEUED RUNNING INTERRUPTED SUCCESS FAILED CANCELLED
    worker : the live worker that executes it
    parent : the batch that began it, if one did
    exit_code : of a finished run; 5 for an interrupted one; null while it waits or runs
    """

    run_id: str
    profile: str
    pipeline: str
    state: str
    stage: str | None
    attempt: int
    exit_code: int | None
    code: str | None
    message: str | None
    worker: str | None
    created_at: str
    closed_at: str | None
    as_of: str | None
    snapshot: str | None
    parent: str | None = None


_STATUS = """
SELECT w.workflow_uuid AS run_id, w.status AS engine, w.executor_id AS executor,
       w.parent_workflow_id AS parent, CASE WHEN r.run_id IS NULL THEN
         (SELECT i.inputs FROM workflow_input i WHERE i.workflow_uuid = w.workflow_uuid) END AS inputs,
       r.profile, r.pipeline, r.state, r.stage, r.attempt, r.exit_code, r.code, r.message,
       r.created_at, r.closed_at, r.as_of, r.snapshot, r.head_seq
FROM workflow_status w LEFT JOIN runs r ON r.run_id = w.workflow_uuid
WHERE w.name IN ('alpha.v1', 'data.v1', 'batch.v1')
"""


def status(places: Places, run_id: str) -> RunStatus | None:
    """Status of one run, or null when the state database does not know it."""
    check_run_id(run_id)
    found = _statuses(places, " AND w.workflow_uuid = ?", (run_id,))
    return found[0] if found else None


def require_status(places: Places, run_id: str) -> RunStatus:
    """Status of a run that must exist (`RUN_NOT_FOUND`, `RUN_UNRECORDED`, exit 3)."""
    found = status(places, run_id)
    if found is None:
        unrecorded.refuse(places, run_id)
        raise DataMissing("RUN_NOT_FOUND", f"there is no run {run_id!r}", remedy="quantctl list")
    return found


def statuses(
    places: Places,
    *,
    limit: int = 50,
    profile: str | None = None,
    pipeline: str | None = None,
    state: str | None = None,
    since: str | None = None,
    among: Sequence[str] | None = None,
) -> list[RunStatus]:
    """The newest runs first.

    state : one of the states, or `OPEN` for all that have not ended; since : UTC date or time of creation
    among : only runs of these ids, and by id
    """
    wanted = {"profile": profile, "pipeline": pipeline}
    if among is not None:
        return [run for run in statuses_of(places, among) if _is_wanted(run, wanted, state, since)][:limit]
    conditions, given = _conditions(wanted, state, since)
    found: list[RunStatus] = []
    for page in itertools.count():
        tail = f"{conditions} ORDER BY w.created_at DESC, w.workflow_uuid LIMIT ? OFFSET ?"
        size = max(limit, PAGE)
        rows = _statuses(places, tail, (*given, size, page * size))
        found += [run for run in rows if _is_wanted(run, wanted, state, since)]
        if len(found) >= limit or len(rows) < size:
            return found[:limit]
    raise AssertionError("unreachable")


def _conditions(wanted: dict[str, str | None], state: str | None, since: str | None) -> tuple[str, list[str]]:
    """What the database can leave out: a run without genesis has its facts in its stored input only."""
    given = {f"r.{name} = ?": value for name, value in wanted.items()} | {"r.created_at >= ?": since}
    chosen = {condition: value for condition, value in given.items() if value is not None}
    conditions = [f"(r.run_id IS NULL OR {condition})" for condition in chosen]
    if state in ("SUCCESS", "FAILED"):
        conditions.append(f"r.state = '{state}'")
    elif state not in (None, "CANCELLED"):
        conditions.append("(r.run_id IS NULL OR r.closed_at IS NULL OR w.status IN ('PENDING', 'ENQUEUED'))")
    return "".join(f" AND {condition}" for condition in conditions), list(chosen.values())


def _is_wanted(run: RunStatus, wanted: dict[str, str | None], state: str | None, since: str | None) -> bool:
    if state is not None and (run.state in TERMINAL if state == "OPEN" else run.state != state):
        return False
    told = all(value is None or getattr(run, name) == value for name, value in wanted.items())
    return told and (since is None or run.created_at >= since)


def statuses_of(places: Places, ids: Sequence[str]) -> list[RunStatus]:
    """Those of the runs that are known, by id."""
    found: list[RunStatus] = []
    for first in range(0, len(ids), PAGE):
        page = tuple(sorted(ids)[first : first + PAGE])
        marks = ", ".join("?" * len(page))
        found += _statuses(places, f" AND w.workflow_uuid IN ({marks}) ORDER BY w.workflow_uuid", page)
    return found


def _statuses(places: Places, tail: str, arguments: tuple[Any, ...]) -> list[RunStatus]:
    live = places.live_workers()
    return [_status(row, live) for row in state.rows(places.state_url, _STATUS + tail, arguments)]


def _status(row: state.Row, live: frozenset[str]) -> RunStatus:
    request = None if row["profile"] else _request(row["inputs"])
    closed = row["state"] in TERMINAL and row["engine"] in ("SUCCESS", "ERROR", "CANCELLED")
    label = row["state"] if closed else _open_state(row, live)
    return RunStatus(
        run_id=row["run_id"],
        profile=row["profile"] or (request.profile if request else ""),
        pipeline=row["pipeline"] or (request.pipeline if request else ""),
        state=label,
        stage=row["stage"],
        attempt=row["attempt"] or 1,
        exit_code=5 if label in ("INTERRUPTED", "CANCELLED") else row["exit_code"] if closed else None,
        code=row["code"],
        message=row["message"],
        worker=row["executor"] if label == "RUNNING" else None,
        created_at=row["created_at"] or (request.created_at if request else ""),
        closed_at=row["closed_at"],
        as_of=row["as_of"] or (request.as_of if request else None),
        snapshot=row["snapshot"],
        parent=row["parent"],
    )


def _open_state(row: state.Row, live: frozenset[str]) -> str:
    if row["engine"] == "CANCELLED":
        return "CANCELLED"
    if row["engine"] == "PENDING" and row["executor"] in live:
        return "RUNNING"
    if row["engine"] == "ENQUEUED" and (row["head_seq"] is None or live):
        return "QUEUED"
    return "INTERRUPTED"


def unattended(places: Places, run_id: str) -> bool:
    """Whether no live process will bring a run on, so that a command may execute it."""
    live = places.live_workers()
    if not state.is_postgres(places.state_url):
        return not live
    row = engine_rows.row(places, run_id)
    executor = row["executor_id"] if row is not None and row["status"] == "PENDING" else None
    return not leases.long_lived(live) and live.isdisjoint({executor, f"run-{run_id}"})


def request_of(places: Places, run_id: str) -> RunRequest | None:
    """The stored input of a run."""
    query = "SELECT inputs FROM workflow_input WHERE workflow_uuid = ?"
    found = state.rows(places.state_url, query, (run_id,))
    return _request(found[0]["inputs"]) if found else None


def _request(inputs: str) -> RunRequest:
    return RunRequest.model_validate(json.loads(inputs)["positionalArgs"][0])


def has_genesis(places: Places, run_id: str) -> bool:
    """Whether the run's ledger has begun."""
    with state.reader(places.state_url) as connection:
        if connection is None:
            return False
        found = connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    return found is not None


def stages_not_started(places: Places, run_id: str, stages: list[str]) -> list[str]:
    """The stages of a run that its current attempt should have run and has not opened."""
    with state.reader(places.state_url) as connection:
        if connection is None:
            return stages
        attempt = connection.execute("SELECT attempt FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        rows = connection.execute(
            "SELECT step, code FROM run_ledger WHERE run_id = ? AND attempt = ?"
            " AND (status = 'intent' OR code = 'REOPENED')",
            (run_id, attempt["attempt"] if attempt else 1),
        ).fetchall()
    started = {row["step"] for row in rows}
    reopened = [row["step"] for row in rows if row["code"] == "REOPENED"]
    due = stages[stages.index(reopened[0]) :] if reopened else stages
    return [stage for stage in due if stage not in started]


def attach(places: Places, request: RunRequest) -> RunStatus | None:
    """The run that already has this id, if its inputs are the same; null for a new id.

    Different inputs are `RUN_ID_CONFLICT` (exit 2), naming what differs. There is never a second
    genesis.
    """
    known = request_of(places, request.run_id)
    if known is None:
        return None
    theirs, ours = _flat(known.inputs()), _flat(request.inputs())
    differs = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    if differs:
        detail = "; ".join(f"{key}: {_brief(theirs.get(key))} -> {_brief(ours.get(key))}" for key in differs)
        raise ConfigError(
            "RUN_ID_CONFLICT",
            f"run {request.run_id} exists with other inputs ({detail})",
            where=request.run_id,
            remedy=f"quantctl resume {request.run_id} keeps its inputs; for others choose another --run-id",
        )
    return require_status(places, request.run_id)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested mappings; the settings' own keys stand without `settings.`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = key if prefix in ("", "settings.") else prefix + key
        if isinstance(value, dict) and value:
            flat |= _flat(value, "settings." if name == "settings" else name + ".")
        else:
            flat[name] = value
    return flat


def _brief(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 40 else text[:37] + "..."
