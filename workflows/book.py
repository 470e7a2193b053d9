"""The ledger transactions of a run: genesis, open and book of a stage, close. SQL only inside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quantctl.contracts.artifacts import ARTIFACTS, Artifact
from quantctl.contracts.canonical import canonical
from quantctl.contracts.ids import span_id_of
from quantctl.contracts.records.run import RunRequest
from quantctl.lake import ledger
from quantctl.lake.ledger import Draft

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session


def genesis(sql: Session, request: RunRequest) -> int:
    """Record 0: what the run was made from. Returns its sequence number."""
    from sqlalchemy import text

    manifest = request.manifest()
    head = ledger.begin(request.run_id, request.profile, request.trace_id)
    sql.execute(text(_NEW_RUN), {
        "run_id": request.run_id, "profile": request.profile, "pipeline": request.pipeline,
        "trace_id": request.trace_id, "as_of": request.as_of, "snapshot": request.snapshot.get("id"),
        "created_at": request.created_at, "hash": head.hash,
    })  # fmt: skip
    data = {
        "manifest_sha256": manifest["manifest_sha256"],
        "pipeline": request.pipeline,
        "stages": request.stages,
        "code": request.code.model_dump(),
        "env": request.env,
        "snapshot": {k: request.snapshot.get(k) for k in ("id", "manifest_sha256", "as_of")},
    }
    return ledger.append(sql, head, [Draft("genesis", "info", data=data)], _now()).seq


_NEW_RUN = """INSERT INTO runs
    (run_id, profile, pipeline, trace_id, as_of, snapshot, created_at, state, attempt,
     head_seq, head_hash, head_ts)
    VALUES (:run_id, :profile, :pipeline, :trace_id, :as_of, :snapshot, :created_at, 'RUNNING', 1,
     -1, :hash, '')"""


def open_stage(
    sql: Session, request: RunRequest, stage: str, params: dict[str, Any], inputs: list[dict[str, Any]]
) -> int:
    """The intent of a stage; a closed run is reopened first. Returns the attempt."""
    from sqlalchemy import text

    head = _head(sql, request)
    drafts = []
    attempt = head.attempt
    last = sql.execute(
        text("SELECT type FROM run_ledger WHERE run_id = :r AND seq = :s"), {"r": head.run_id, "s": head.seq}
    ).scalar_one()
    if last == "closed":
        attempt += 1
        reopened = {"attempt": attempt, "from_stage": stage}
        drafts.append(Draft("event", "info", stage, attempt, "REOPENED", data=reopened))
        again = request.stages[request.stages.index(stage) :]
        for step in again:  # their outputs lie in attempts/ now
            sql.execute(
                text("DELETE FROM artifact_index WHERE run_id = :r AND step = :s"),
                {"r": head.run_id, "s": step},
            )
    span = span_id_of(request.run_id, stage, attempt)
    drafts.append(Draft("stage", "intent", stage, attempt, inputs=inputs, data=params, span_id=span))
    ledger.append(sql, head, drafts, _now())
    sql.execute(
        text("UPDATE runs SET state = 'RUNNING', stage = :s, attempt = :a, exit_code = NULL, code = NULL,"
             " message = NULL, closed_at = NULL WHERE run_id = :r"),
        {"s": stage, "a": attempt, "r": head.run_id},
    )  # fmt: skip
    return attempt


def book_stage(sql: Session, request: RunRequest, stage: str, attempt: int, outcome: dict[str, Any]) -> str:
    """Findings, gates, artifacts and the outcome of a stage, with the index rows. Returns its status."""
    from sqlalchemy import text

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
    ledger.append(sql, _head(sql, request), drafts, _now())
    for artifact in outputs:
        sql.execute(
            text(_INDEX),
            artifact.model_dump() | {"run_id": request.run_id, "step": stage, "attempt": attempt},
        )
    return str(outcome["status"])


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
    drafts.append(Draft("closed", "info", attempt=head.attempt, code=code, data=closing))
    head = ledger.append(sql, head, drafts, _now())
    sql.execute(
        text("UPDATE runs SET state = :state, exit_code = :exit, code = :code, message = :message,"
             " stage = NULL, closed_at = :at WHERE run_id = :r"),
        {"state": state, "exit": exit_code, "code": code, "message": error["message"] if error else None,
         "at": head.ts, "r": request.run_id},
    )  # fmt: skip
    return head.hash


def close_broken(sql: Session | Connection, request: RunRequest, error: dict[str, Any]) -> None:
    """Close a run that broke outside its stages; one without genesis, or closed already, stays as it is."""
    from sqlalchemy import text

    head = ledger.head(sql, request.run_id)
    if head is None:
        return
    last = sql.execute(
        text("SELECT type FROM run_ledger WHERE run_id = :r AND seq = :s"), {"r": head.run_id, "s": head.seq}
    ).scalar_one()
    if last != "closed":
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


def _now() -> datetime:
    return datetime.now(UTC)
