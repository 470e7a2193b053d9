"""Ledgers in a Postgres: sound after kills, a retry and a fork; whatever is done to them by SQL is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import front_door
import postgres_door
import psycopg
import pytest
import wish_door

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
RECORDS = "run_ledger WHERE run_id = 'k1'"
STAGE = "type = 'stage' AND status = 'success'"


class Ground:
    """Commands in this process, over copies of one database and one data directory, each changed once."""

    def __init__(self, door: Any, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self._door, self._server, self._environment = door, server, monkeypatch
        self.door = front_door.FrontDoor(door.data)
        self.runs = door.root().parent

    def after(self, *statements: str) -> str:
        """Commands see a copy of the database in which `statements` were executed."""
        url = self._server._create(self._door.state_url.rsplit("/", 1)[1])
        with psycopg.connect(url) as connection:
            for statement in statements:
                assert connection.execute(statement).rowcount > 0, statement
        self._environment.setenv("TV_STATE_URL", url)
        return url

    def verified(self, *words: str) -> dict[str, list[tuple[str, str]]]:
        """Run -> (level, code) of what `ledger verify` finds of it; its exit code agrees."""
        done = self.door("ledger", "verify", *words, "--json")
        told = json.loads(done.out)
        reports = told["data"]
        assert done.exit == (0 if all(report["ok"] for report in reports) else 1), done.err
        return {r["run_id"]: [(f["level"], f["code"]) for f in r["findings"]] for r in reports}

    def checks(self) -> dict[str, Any]:
        """Rows of `doctor` by name."""
        told = json.loads(self.door("doctor", "--json").out)
        return {row["name"]: row for row in (told["data"] if told["ok"] else told["error"]["findings"])}


@pytest.fixture(scope="module")
def made(postgres_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`k1` was killed and resumed, `k2` failed and was retried, `f1` forks `k1`, `k3` was killed just now."""
    root = tmp_path_factory.mktemp("evidence")
    wish_door.tiny_door.prepared(tmp_path_factory.mktemp("lake")).copy(root)
    door = postgres_door.Door(root / "data", postgres_server.database())
    door.killed_in("tiny.total", *wish_door.run_words())
    postgres_door.bury(door)
    assert door("resume", "k1").returncode == 0
    assert door("--set", "sleeve.direction=SHORT", *wish_door.run_words("k2")).returncode == 3
    assert door("retry", "k2", "--from-stage", "tiny.double").returncode == 3
    assert door("fork", "k1", "--from-stage", "tiny.total", "--run-id", "f1").returncode == 0
    door.killed_in("tiny.total", *wish_door.run_words("k3"), run_id="k3")
    postgres_door.bury(door, "run-k3")
    return door


@pytest.fixture
def ground(made: Any, postgres_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    found = Ground(made, postgres_server, monkeypatch)
    kept = made.data.parent / "kept"
    shutil.copytree(found.runs, kept)
    yield found
    shutil.rmtree(found.runs)
    kept.rename(found.runs)


def test_after_kills_a_retry_and_a_fork_every_ledger_holds(ground: Ground) -> None:
    ground.after()
    found = ground.verified("--all")
    assert set(found.pop("k3")) <= {("WARN", "LEDGER_PROJECTION")}  # it is open: its file may be behind
    assert found == {"k1": [], "k2": [], "f1": []}
    assert ground.verified("k2") == {"k2": []}


def sql(*statements: str) -> Callable[[Ground], Any]:
    return lambda ground: ground.after(*statements)


def file(
    relative: str, change: Callable[[bytes], bytes] | None, run_id: str = "k1"
) -> Callable[[Ground], Any]:
    def done(ground: Ground) -> None:
        ground.after()
        path = ground.runs / run_id / relative
        data = path.read_bytes()
        path.unlink() if change is None else path.write_bytes(change(data))

    return done


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def done(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new)

    return done


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    return lambda data: b"".join(change(data.splitlines(keepends=True)))


AUDIT = "audit.jsonl"
TAMPERED: dict[str, tuple[Callable[[Ground], Any], set[str]]] = {
    "a record edited": (
        sql("UPDATE run_ledger SET record = replace(record, 'success', 'failed')"
            f" WHERE run_id = 'k1' AND {STAGE}"), {"LEDGER_HASH"}),
    "a column edited": (
        sql(f"UPDATE run_ledger SET status = 'failed' WHERE run_id = 'k1' AND {STAGE}"), {"LEDGER_HASH"}),
    "a record emptied": (
        sql("UPDATE run_ledger SET record = '' WHERE run_id = 'k1' AND seq = 2"),
        {"LEDGER_PARSE", "LEDGER_TRUNCATED"}),
    "a record deleted": (sql(f"DELETE FROM {RECORDS} AND seq = 4"), {"LEDGER_SEQ"}),
    "the last record deleted": (sql(f"DELETE FROM {RECORDS} AND type = 'closed'"), {"LEDGER_TRUNCATED"}),
    "the genesis deleted": (sql(f"DELETE FROM {RECORDS} AND seq = 0"), {"LEDGER_GENESIS"}),
    "all records deleted": (sql(f"DELETE FROM {RECORDS}"), {"LEDGER_GENESIS", "LEDGER_TRUNCATED"}),
    "records swapped": (
        sql("UPDATE run_ledger a SET record = b.record FROM run_ledger b WHERE a.run_id = 'k1'"
            " AND b.run_id = 'k1' AND a.seq IN (3, 4) AND a.seq + b.seq = 7"), {"LEDGER_SEQ", "LEDGER_HASH"}),
    "a record given to another run": (
        sql("UPDATE run_ledger SET run_id = 'k2', seq = 99 WHERE run_id = 'k1' AND seq = 6"), {"LEDGER_SEQ"}),
    "the run's row deleted": (sql("DELETE FROM runs WHERE run_id = 'k1'"), {"LEDGER_TRUNCATED"}),
    "the run and its records deleted": (
        sql("DELETE FROM runs WHERE run_id = 'k1'", f"DELETE FROM {RECORDS}"), {"LEDGER_TRUNCATED"}),
    "the run said to have failed": (
        sql("UPDATE runs SET state = 'FAILED', exit_code = 3 WHERE run_id = 'k1'"), {"LEDGER_HASH"}),
    "the run said to be open": (
        sql("UPDATE runs SET state = 'RUNNING' WHERE run_id = 'k1'"), {"LEDGER_HASH"}),
    "another profile": (sql("UPDATE runs SET profile = 'other' WHERE run_id = 'k1'"), {"LEDGER_HASH"}),
    "another head": (
        sql("UPDATE runs SET head_hash = repeat('0', 64) WHERE run_id = 'k1'"), {"LEDGER_TRUNCATED"}),
    "another hash in the index": (
        sql("UPDATE artifact_index SET sha256 = repeat('0', 64) WHERE run_id = 'k1'"), {"LEDGER_ARTIFACT"}),
    "a row of the index deleted": (
        sql("DELETE FROM artifact_index WHERE run_id = 'k1' AND name = 'tiny_total'"), {"LEDGER_ARTIFACT"}),
    "a row of the index made up": (
        sql("UPDATE artifact_index SET run_id = 'k1', path = 'data/x.json'"
            " WHERE run_id = 'k2' AND name = 'tiny_doubled'"), {"LEDGER_ARTIFACT"}),
    "audit.jsonl edited": (
        file(AUDIT, lines(lambda x: [*x[:4], replaced(b'"attempt":1', b'"attempt":2')(x[4]), *x[5:]])),
        {"LEDGER_HASH"}),
    "a line of audit.jsonl removed": (file(AUDIT, lines(lambda x: [*x[:4], *x[5:]])),
                                      {"LEDGER_SEQ", "LEDGER_TRUNCATED"}),
    "audit.jsonl cut": (file(AUDIT, lines(lambda x: x[:-1])), {"LEDGER_TRUNCATED"}),
    "audit.jsonl gone": (file(AUDIT, None), {"LEDGER_PARSE"}),
    "audit_head.json gone": (file("audit_head.json", None), {"LEDGER_HEAD_MISSING"}),
    "an artifact changed": (file("data/tiny.parquet", flipped), {"LEDGER_ARTIFACT"}),
    "a verdict gone": (file("data/gates/tiny.json", None), {"LEDGER_ARTIFACT"}),
    "the manifest changed": (
        file("config/resolved_manifest.json", replaced(b"tiny.full", b"tiny.fuel")), {"LEDGER_ARTIFACT"}),
    "the manifest gone": (file("config/resolved_manifest.json", None), {"LEDGER_ARTIFACT"}),
    "what a retry set aside changed": (
        file("attempts/1/data/tiny.parquet", flipped, "k2"), {"LEDGER_ARTIFACT"}),
    "a file of a fork gone": (file("data/tiny.parquet", None, "f1"), {"LEDGER_ARTIFACT"}),
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPERED)
def test_what_was_done_to_a_ledger_is_named_and_other_runs_hold(ground: Ground, how: str) -> None:
    tamper, codes = TAMPERED[how]
    tamper(ground)
    found = ground.verified("--all")
    hit = {"what a retry set aside changed": "k2", "a file of a fork gone": "f1"}.get(how, "k1")
    assert {code for level, code in found[hit] if level == "ERROR"} == codes
    others = {run_id for run_id in found if "ERROR" in dict(found[run_id])} - {hit}
    taken = {"a record given to another run": {"k2"}, "a row of the index made up": {"k2"}}
    assert others == taken.get(how, set())
    assert ground.verified(hit) == {hit: found[hit]}


def test_doctor_names_an_orphaned_run_its_worker_and_the_command(ground: Ground) -> None:
    ground.after()
    found = ground.checks()
    row = found["interrupted runs"]
    assert (row["status"], row["detail"], row["remedy"]) == ("warn", "k3 at tiny.total", "quantctl resume k3")
    assert found["worker"]["status"] == "warn"
    assert "run-k3" in found["worker"]["detail"]
    assert found["run directories"]["status"] == "ok"
    ground.after("UPDATE dbos.workflow_status SET application_version = 'next' WHERE workflow_uuid = 'k3'")
    found = ground.checks()
    assert found["protocol"]["remedy"] == "quantctl resume k3 --adopt-version"
    assert found["interrupted runs"]["status"] == "ok"  # named once


@pytest.mark.parametrize("table", ["runs WHERE run_id", "dbos.workflow_status WHERE workflow_uuid"])
def test_doctor_names_a_run_directory_whose_run_is_gone_from_the_database(ground: Ground, table: str) -> None:
    ground.after(f"DELETE FROM {table} = 'k1'")
    row = ground.checks()["run directories"]
    assert (row["status"], row["detail"]) == ("fail", "no record of 1 run directories, k1 among them")
