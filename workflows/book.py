"""The ledger transactions of a run: genesis, open and book of a stage, close. SQL only inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quantctl.contracts.artifacts import ARTIFACTS, Artifact
from quantctl.contracts.canonical import canonical
from quantctl.contracts.errors import ConfigError
from quantctl.contracts.ids import span_id_of
from quantctl.contracts.records.run import RunRequest
from quantctl.lake import ledger, notices
from quantctl.lake.ledger import Draft
from quantctl.lake.state import each

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session


def genesis(sql: Session | Connection, request: RunRequest) -> int:
    """Record 0: what the run was made from. Returns its sequence number; there is never a second one."""
    from sqlalchemy import text

    if ledger.head(sql, request.run_id) is not None:
        return 0
    head = ledger.begin(request.run_id, request.profile, request.trace_id)
    sql.execute(text(_NEW_RUN), {
        "run_id": request.run_id, "profile": request.profile, "pipeline": request.pipeline,
        "trace_id": request.trace_id, "as_of": request.as_of, "snapshot": request.snapshot.get("id"),
        "created_at": request.created_at, "hash": head.hash,
    })  # fmt: skip
    data = {
        "manifest_sha256": request.manifest_sha256,
        "pipeline": request.pipeline,
        "stages": request.stages,
        "code": request.code.model_dump(),
        "env": request.env,
        "snapshot": {k: request.snapshot.get(k) for k in ("id", "manifest_sha256", "as_of")},
    }
    return ledger.append(sql, head, [Draft("genesis", "info", data=data)], now()).seq


_NEW_RUN = """INSERT INTO runs
    (run_id, profile, pipeline, trace_id, as_of, snapshot, created_at, state, attempt,
     head_seq, head_hash, head_ts)
    VALUES (:run_id, :profile, :pipeline, :trace_id, :as_of, :snapshot, :created_at, 'RUNNING', 1,
     -1, :hash, '')"""


def open_stage(
    sql: Session, request: RunRequest, stages: Sequence[str], params: dict[str, Any],
    inputs: list[dict[str, Any]],
) -> int | None:  # fmt: skip
    """The intent of the first of `stages`; a closed run is reopened from there first.

    Returns the attempt, or null when the run was cancelled: then the stage is not opened.
    """
    head = _head(sql, request)
    stage, attempt = stages[0], head.attempt + head.closed
    cancelled = cancellation(sql, request.run_id, attempt) is not None
    drafts = []
    if head.closed:
        if cancellation(sql, request.run_id, head.attempt) is not None:
            return None  # closed as cancelled already, by another process
        drafts.append(_reopened(sql, request, stages, attempt))
    span = span_id_of(request.run_id, stage, attempt)
    if not cancelled:
        drafts.append(Draft("stage", "intent", stage, attempt, inputs=inputs, data=params, span_id=span))
    if drafts:
        ledger.append(sql, head, drafts, now())
        _mark_open(sql, request.run_id, stage, attempt)
    return None if cancelled else attempt


def _reopened(sql: Session, request: RunRequest, stages: Sequence[str], attempt: int) -> Draft:
    """The first record of a new attempt; what its stages had written lies in `attempts/` now."""
    from sqlalchemy import text

    for step in stages:
        sql.execute(
            text("DELETE FROM artifact_index WHERE run_id = :r AND step = :s"),
            {"r": request.run_id, "s": step},
        )
    data = {"attempt": attempt, "from_stage": stages[0]}
    return Draft("event", "info", stages[0], attempt, "REOPENED", data=data)


def _mark_open(sql: Session, run_id: str, stage: str, attempt: int) -> None:
    from sqlalchemy import text

    sql.execute(
        text("UPDATE runs SET state = 'RUNNING', stage = :s, attempt = :a, exit_code = NULL, code = NULL,"
             " message = NULL, closed_at = NULL WHERE run_id = :r"),
        {"s": stage, "a": attempt, "r": run_id},
    )  # fmt: skip


def cancellation(sql: Session | Connection, run_id: str, attempt: int) -> str | None:
    """Why an attempt of a run is to stop at its next stage, or null."""
    from sqlalchemy import text

    found = sql.execute(
        text("SELECT reason FROM cancellations WHERE run_id = :r AND attempt = :a"),
        {"r": run_id, "a": attempt},
    ).scalar()
    return None if found is None else str(found)


def ask_cancellation(sql: Connection, run_id: str, attempt: int, reason: str) -> None:
    """Ask an attempt of a run to stop at its next stage; the first reason stands."""
    from sqlalchemy import text

    sql.execute(
        text("INSERT INTO cancellations (run_id, attempt, reason) VALUES (:r, :a, :why)"
             " ON CONFLICT (run_id, attempt) DO NOTHING"),
        {"r": run_id, "a": attempt, "why": reason},
    )  # fmt: skip


def book_stage(sql: Session, request: RunRequest, stage: str, attempt: int, outcome: dict[str, Any]) -> str:
    """Findings, gates, artifacts and the outcome of a stage, with the index rows. Returns its status."""
    ledger.append(sql, _head(sql, request), outcome_drafts(stage, attempt, outcome), now())
    outputs = [Artifact.model_validate(output) for output in outcome["outputs"]]
    _index(sql, request.run_id, outputs, stage, attempt)
    return str(outcome["status"])


def outcome_drafts(stage: str, attempt: int, outcome: dict[str, Any]) -> list[Draft]:
    """The records of an outcome: findings, gates, then the outcome itself with its files."""
    outputs = [Artifact.model_validate(output) for output in outcome["outputs"]]
    drafts = [_decision(stage, attempt, finding) for finding in outcome["findings"]]
    drafts += [_gate(stage, attempt, verdict) for verdict in outcome["gates"]]
    error = outcome["error"]
    data = {"metrics": outcome["metrics"]} | ({"error": _short(error)} if error else {})
    references = [ledger.reference(a) for a in outputs if not ARTIFACTS[a.name].timed]
    drafts.append(
        Draft("stage", outcome["status"], stage, attempt, error["code"] if error else None,
              outputs=references, data=data, span_id=outcome.get("span_id"))
    )  # fmt: skip
    return drafts


def append_kept(
    sql: Session, request: RunRequest, drafts: Sequence[Draft], outputs: Mapping[str, Sequence[Artifact]]
) -> None:
    """What a fork keeps: its records, and the index rows of `outputs`, stage by stage."""
    ledger.append(sql, _head(sql, request), drafts, now())
    for stage, artifacts in outputs.items():
        _index(sql, request.run_id, artifacts, stage, 1)


def _index(sql: Session, run_id: str, artifacts: Sequence[Artifact], stage: str, attempt: int) -> None:
    place = {"run_id": run_id, "step": stage, "attempt": attempt}
    each(sql, _INDEX, (artifact.model_dump() | place for artifact in artifacts))


_INDEX = """INSERT INTO artifact_index (run_id, path, name, sha256, rows, bytes, contract, step, attempt)
    VALUES (:run_id, :path, :name, :sha256, :rows, :bytes, :contract, :step, :attempt)
    ON CONFLICT (run_id, path) DO UPDATE SET sha256 = excluded.sha256, rows = excluded.rows,
    bytes = excluded.bytes, contract = excluded.contract, step = excluded.step, attempt = excluded.attempt"""


def close(
    sql: Session | Connection,
    request: RunRequest,
    state: str,
    error: dict[str, Any] | None,
    skipped: Sequence[str],
) -> str:
    """The last record: state, exit code and number of records, after a `skipped` per stage not started."""
    from sqlalchemy import text

    head = _head(sql, request)
    code = error["code"] if error else None
    exit_code = error["exit"] if error else 0
    drafts = [Draft("stage", "skipped", stage, head.attempt, code) for stage in skipped]
    records = head.seq + len(drafts) + 2
    closing = {"state": state, "exit_code": exit_code, "records": records}
    if error is not None and state == "CANCELLED":
        closing["reason"] = error["message"]
    drafts.append(Draft("closed", "info", attempt=head.attempt, code=code, data=closing))
    head = ledger.append(sql, head, drafts, now())
    sql.execute(
        text("UPDATE runs SET state = :state, exit_code = :exit, code = :code, message = :message,"
             " stage = NULL, closed_at = :at WHERE run_id = :r"),
        {"state": state, "exit": exit_code, "code": code, "message": error["message"] if error else None,
         "at": head.ts, "r": request.run_id},
    )  # fmt: skip
    facts = request.model_dump(include={"run_id", "profile", "pipeline"}) | {
        "attempt": head.attempt, "state": state, "code": code, "exit_code": exit_code, "head_hash": head.hash,
    }  # fmt: skip
    notices.post(sql, request.settings.get("notify"), facts, head.seq, head.ts)
    return head.hash


def close_cancelled(sql: Session | Connection, request: RunRequest, skipped: Sequence[str]) -> dict[str, Any]:
    """Close a run as CANCELLED, with the reason that was asked. One that is closed stays as it is.

    Returns the typed error by which the run ended.
    """
    head = _head(sql, request)
    reason = cancellation(sql, request.run_id, head.attempt)
    error = ConfigError("CANCELLED", reason or "cancelled", where=request.run_id).to_dict()
    if not head.closed:
        close(sql, request, "CANCELLED", error, skipped)
    return error


def close_broken(sql: Session | Connection, request: RunRequest, error: dict[str, Any]) -> None:
    """Close a run that broke outside its stages; one without genesis, or closed already, stays as it is."""
    head = ledger.head(sql, request.run_id)
    if head is not None and not head.closed:
        close(sql, request, "FAILED", error, [])


def _decision(stage: str, attempt: int, finding: dict[str, Any]) -> Draft:
    if finding["level"] == "INFO" and finding["details"].get("event"):
        data = {k: v for k, v in finding["details"].items() if k != "event"}
        return Draft("event", "info", stage, attempt, finding["code"], data=data)
    data = {
        "level": finding["level"],
        "symbol": finding["symbol"],
        "message": finding["message"],
        "details": finding["details"],
    }
    return Draft("decision", "info", stage, attempt, finding["code"], data=data)


def _gate(stage: str, attempt: int, gate: dict[str, Any]) -> Draft:
    data = {key: gate[key] for key in ("gate", "status", "errors", "warnings")}
    status = "failed" if gate["status"] == "FAIL" else "success"
    return Draft("gate", status, stage, attempt, gate["code"], outputs=[gate["verdict"]], data=data)


def _short(error: dict[str, Any]) -> dict[str, Any]:
    """An error as it fits a record: its details are kept only while they are small."""
    details = error["details"] if len(canonical(error["details"])) < 4096 else {"truncated": True}
    return error | {"details": details, "message": error["message"][:2000]}


def _head(sql: Session | Connection, request: RunRequest) -> ledger.Head:
    head = ledger.head(sql, request.run_id)
    assert head is not None, "a stage was opened before genesis"
    return head


def now() -> datetime:
    """The time that records bear, in UTC."""
    return datetime.now(UTC)
