"""Runs booked by the product's own transactions, without the workflow engine: fast ledgers for tests."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from quantctl.contracts.ids import trace_id_of
from quantctl.contracts.records.run import CodeFacts, RunRequest
from quantctl.contracts.stage import Finding, Judgement
from quantctl.lake import artifact_index, ledger, state
from quantctl.lake.audit_file import project
from quantctl.lake.rundir import RunDirectory
from quantctl.workflows import book
from quantctl.workflows.registry import build
from quantctl.workflows.runtime import Places
from quantctl.workflows.verdicts import verdict

STAGES = ("foundation.gate", "selection.ingestion")
GATES = build("alpha.full").gates
ERROR = {"code": "CANDIDATES_EMPTY", "exit": 3, "message": "no candidate", "details": {}}


class Book:
    """A state database with run directories; `places` is where a reader finds them."""

    def __init__(self, data: Path, url: str | None = None) -> None:
        self.places = Places(
            data, data / "lakehouse", data / "artifacts", data / "export", url or state.default_url(data)
        )
        self.engine = state.open_engine(self.places.state_url)

    def begin(self, run_id: str, *, day: int = 1) -> RunRequest:
        """A run with genesis and an open life."""
        request = RunRequest(
            run_id=run_id, profile="p", trace_id=trace_id_of(run_id), pipeline="alpha.full",
            created_at=f"2026-01-{day:02d}T00:00:00.000000Z", as_of="2026-01-01", annualisation=365,
            snapshot={}, settings={}, origins={}, extends_chain=[], profile_sha256=[],
            code=CodeFacts(version="1", git_commit=None, dirty=None, lock_sha256=None, workflow_protocol="v"),
            env={}, arguments={}, stages=list(STAGES), replay=[],
        )  # fmt: skip
        self.directory(run_id).write("resolved_manifest", request.manifest())
        with self.engine.begin() as sql:
            book.genesis(sql, request)
            sql.execute(
                text("INSERT INTO run_lives (run_id, life, worker, started) VALUES (:r, 0, 'w', 'then')"),
                {"r": run_id},
            )
        return request

    def stage(self, request: RunRequest, place: int, *, failed: bool = False, note: str = "padded") -> None:
        """Open and book a stage with a finding, a gate and its verdict file."""
        name, gate = STAGES[place], GATES[STAGES[place]][0]
        with self.engine.begin() as sql:
            attempt = book.open_stage(sql, request, STAGES[place:], {"rows": 12}, [])
            assert attempt is not None
        judged = Finding(level="ERROR" if failed else "WARN", code="CANDIDATES_EMPTY", message="none")
        body = verdict(gate, Judgement([judged], {"rows": attempt}), request.facts(attempt), {})
        written = self.directory(request.run_id).write(gate.writes, body)
        booked = {"gate": gate.id, "code": None, "verdict": ledger.reference(written)}
        booked |= {key: body[key] for key in ("status", "errors", "warnings")}
        finding = Finding(level="WARN", code="ROWS_PADDED", message=note, details={"é": 1e-7})
        outcome = {
            "status": "failed" if failed else "success", "error": ERROR if failed else None,
            "gates": [booked], "findings": [finding.model_dump()], "metrics": {"rows": 12, "share": 0.5},
            "outputs": [written.model_dump()],
        }  # fmt: skip
        with self.engine.begin() as sql:
            book.book_stage(sql, request, name, attempt, outcome)

    def close(self, request: RunRequest, *, failed: bool = False) -> None:
        """The last record; the life ends before it is projected, as in the runner."""
        with self.engine.begin() as sql:
            end = "FAILED" if failed else "SUCCESS"
            book.close(sql, request, end, ERROR if failed else None, [])
            sql.execute(
                text("UPDATE run_lives SET ended = 'now', reason = 'finished' WHERE run_id = :r"),
                {"r": request.run_id},
            )
        self.write_audit(request.run_id)

    def run(self, run_id: str, *, day: int = 1, failed: bool = False, retries: int = 0) -> RunRequest:
        """A whole run; a failed one may be retried from its last stage, and fails again."""
        request = self.begin(run_id, day=day)
        self.stage(request, 0)
        self.stage(request, 1, failed=failed or retries > 0)
        self.close(request, failed=failed or retries > 0)
        for attempt in range(1, retries + 1):
            self.set_aside(run_id, STAGES[1])
            last = attempt == retries and not failed
            self.stage(request, 1, failed=not last)
            self.close(request, failed=not last)
        return request

    def set_aside(self, run_id: str, step: str) -> None:
        """Move the outputs of a stage to their attempt, as a retry does."""
        with state.reader(self.places.state_url) as connection:
            rows = artifact_index.rows(connection, run_id)
        for row in rows:
            if row["step"] == step:
                self.directory(run_id).move_to_attempt(row["path"], row["attempt"])

    def write_audit(self, run_id: str) -> None:
        """Bring `audit.jsonl` up to the ledger."""
        project(self.places.state_url, run_id, self.places.run_root(run_id))

    def directory(self, run_id: str) -> RunDirectory:
        """The run directory."""
        return RunDirectory(self.places.artifacts_dir, run_id, "p")
