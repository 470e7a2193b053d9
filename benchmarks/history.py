"""A long history for benchmarks: thousands of finished runs in one state database, ten records each.

Records, hashes and index rows are made by the product's own transactions (`workflows.book`), artifacts by
its run directory, `audit.jsonl` by its projector. The engine's rows of every run are those of one run that
was really executed, under the run's id. Nothing is killed while it is built, so fsync is left out.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from quantctl.contracts.artifacts import ARTIFACTS, Artifact
from quantctl.contracts.canonical import sha256_hex
from quantctl.contracts.ids import trace_id_of
from quantctl.contracts.records.run import RunRequest
from quantctl.contracts.stage import Finding, GateSpec, Judgement
from quantctl.lake import ledger, state
from quantctl.lake.audit_file import project
from quantctl.lake.encoding import encode
from quantctl.lake.rundir import RunDirectory
from quantctl.workflows import book, runs
from quantctl.workflows.registry import build as pipeline
from quantctl.workflows.runtime import Places
from quantctl.workflows.verdicts import verdict

SEED = "seed_run"
PROFILES = ("alpha_long", "alpha_short", "meta", "tournament")
STAGES = ("foundation.gate", "selection.ingestion")
RECORDS = 10
ERROR = {"code": "CANDIDATES_EMPTY", "exit": 3, "message": "no candidate", "details": {}}
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 200


def places(data: Path, url: str = "") -> Places:
    """Where everything of a history lies."""
    root = data.resolve()
    return Places(
        root, root / "lakehouse", root / "artifacts", root / "export", url or state.default_url(root)
    )


def seed(data: Path) -> None:
    """One run that is really executed: it makes the engine's tables and a request to copy."""
    words = ("data", "simulate", "--symbols", "12", "--days", "60", "--run-id", SEED)
    command = [sys.executable, "-m", "quantctl", "--set", f"paths.data_dir={data}", *words]
    subprocess.run(command, check=True, capture_output=True)


def build(data: Path, count: int, *, files: bool = False) -> Places:
    """`count` finished runs below `data`; every tenth has failed. With `files` their run directories too."""
    where = places(data)
    seed(data)
    engine, asked = state.open_engine(where.state_url), runs.request_of(where, SEED)
    assert asked is not None
    with unsynced():
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            with engine.begin() as sql:
                for number in numbers:
                    run(sql, where, request(asked, number), failed=number % 10 == 9, files=files)
        if files:
            for number in range(count):
                project(where.state_url, run_id(number), where.run_root(run_id(number)))
    with engine.begin() as sql:
        _engine_rows(sql, [run_id(number) for number in range(count)])
    engine.dispose()
    return where


def run_id(number: int) -> str:
    """Id of the n-th run, as the command line would name it."""
    return f"{PROFILES[number % 4]}_{FIRST + timedelta(minutes=number):%Y%m%d-%H%M%S}"


def request(found: RunRequest, number: int) -> RunRequest:
    """The request of the n-th run: that of the seed run under its own id and time."""
    created = f"{FIRST + timedelta(minutes=number):%Y-%m-%dT%H:%M:%S.%f}Z"
    return found.model_copy(update={
        "run_id": run_id(number), "profile": PROFILES[number % 4], "trace_id": trace_id_of(run_id(number)),
        "created_at": created, "stages": list(STAGES),
    })  # fmt: skip


def run(sql: Any, where: Places, asked: RunRequest, *, failed: bool = False, files: bool = False) -> None:
    """One whole run, from genesis to close: two stages, each with a gate and a finding."""
    directory = RunDirectory(where.artifacts_dir, asked.run_id, asked.profile)
    if files:
        directory.write("resolved_manifest", asked.manifest())
    book.genesis(sql, asked)
    gates = pipeline("alpha.full").gates
    for place, stage in enumerate(STAGES):
        attempt = book.open_stage(sql, asked, STAGES[place:], {"rows": 12}, [])
        assert attempt is not None
        outcome = _outcome(asked, gates[stage][0], directory if files else None, failed and place == 1)
        book.book_stage(sql, asked, stage, attempt, outcome)
    book.close(sql, asked, "FAILED" if failed else "SUCCESS", ERROR if failed else None, [])
    sql.exec_driver_sql(
        "INSERT INTO run_lives (run_id, life, worker, started, ended, reason)"
        " SELECT run_id, 0, 'worker-1', created_at, closed_at, 'finished' FROM runs WHERE run_id = ?",
        (asked.run_id,),
    )


@contextlib.contextmanager
def writing(data: Path) -> Iterator[Callable[[], tuple[Places, str]]]:
    """Gives a call that books one more finished run, synced as the product does it, and tells its id."""
    where = places(data)
    asked, engine = runs.request_of(where, SEED), state.open_engine(where.state_url)
    assert asked is not None
    mark = time.time_ns()
    numbers = itertools.count()

    def add() -> tuple[Places, str]:
        made = request(asked, 0)
        new = f"live_{mark}_{next(numbers):06d}"
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        with engine.begin() as sql:
            run(sql, where, made.model_copy(update={"run_id": new, "created_at": now}))
        return where, new

    yield add
    engine.dispose()


def _outcome(
    asked: RunRequest, gate: GateSpec, directory: RunDirectory | None, failed: bool
) -> dict[str, Any]:
    finding = Finding(level="WARN", code="ROWS_PADDED", message="12 rows were padded", details={"rows": 12})
    judged = Finding(level="ERROR" if failed else "WARN", code="CANDIDATES_EMPTY", message="no candidate")
    body = verdict(gate, Judgement([judged], {"rows": 12}), asked.facts(1), {})
    if directory is not None:
        written = directory.write(gate.writes, body)
    else:
        data, rows = encode(gate.writes, body)
        row = ARTIFACTS[gate.writes]
        written = Artifact(name=gate.writes, path=row.path, sha256=sha256_hex(data), rows=rows,
                           bytes=len(data), contract=row.contract)  # fmt: skip
    booked = {"gate": gate.id, "code": judged.code if failed else None, "verdict": ledger.reference(written)}
    booked |= {key: body[key] for key in ("status", "errors", "warnings")}
    return {
        "status": "failed" if failed else "success", "error": ERROR if failed else None, "gates": [booked],
        "findings": [finding.model_dump()], "metrics": {"rows": 12, "share": 0.5},
        "outputs": [written.model_dump()],
    }  # fmt: skip


def _engine_rows(sql: Any, ids: list[str]) -> None:
    """The engine's rows of the seed run, once per run."""
    import sqlalchemy as sa

    inspector = sa.inspect(sql)
    for table in inspector.get_table_names():
        columns = [column["name"] for column in inspector.get_columns(table)]
        if "workflow_uuid" not in columns:
            continue
        rest = ", ".join(f'"{name}"' for name in columns if name != "workflow_uuid")
        copied = f"INSERT INTO {table} (workflow_uuid, {rest}) SELECT :new, {rest} FROM {table}"
        for name in ids:
            sql.execute(sa.text(f"{copied} WHERE workflow_uuid = :old"), {"new": name, "old": SEED})
    for number, name in enumerate(ids):
        moment = int(1e3 * (FIRST + timedelta(minutes=number)).timestamp())
        sql.execute(
            sa.text("UPDATE workflow_status SET created_at = :at WHERE workflow_uuid = :new"),
            {"at": moment, "new": name},
        )


@contextlib.contextmanager
def unsynced() -> Iterator[None]:
    """Inside, nothing waits for the disk."""
    with mock.patch("os.fsync"):
        yield


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    build(target, int(sys.argv[2]), files="files" in sys.argv[3:])
    print(json.dumps({"built": sys.argv[2], "bytes": (target / "state" / "quantctl.sqlite").stat().st_size}))
