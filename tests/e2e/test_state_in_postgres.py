"""Every command over a state database in Postgres: same results as over SQLite, and no secret in sight."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LONG = "binance_spot_rating_all_long"
SECRET = "hunter2secret"
SLIM = 'allocation.risk_profiles=["hrp","equal_weight"]'


class Postgres:
    """The command line over a data directory whose state is in Postgres."""

    def __init__(self, data: Path, url: str) -> None:
        self.data, self.url = data, url

    def __call__(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "quantctl", "--set", f"paths.data_dir={self.data}"]
        command += ["--set", "orchestration.min_free_mb=0", "--set", SLIM, *words]
        return subprocess.run(
            command, text=True, capture_output=True, timeout=300, cwd=self.data.parent,
            env=os.environ | {"TV_STATE_URL": self.url} | env,
        )  # fmt: skip

    def answer(self, *words: str, exit_code: int = 0) -> Any:
        """What a command prints with `--json`."""
        done = self(*words, "--json")
        assert done.returncode == exit_code, done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def door(fair: Any, postgres_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Postgres:
    """The small market's files with a state in Postgres; a finished run `base` and one that failed."""
    copy = fair.copy(tmp_path_factory.mktemp("pg"))
    (copy.data / "state" / "quantctl.sqlite").unlink()
    url = postgres_server.database().replace("tests@", f"tests:{SECRET}@")  # trust: any password will do
    made = Postgres(copy.data, url)
    run = ("run", "--profile", LONG, "--run-id")
    assert made.answer(*run, "base")["data"]["state"] == "SUCCESS"
    failed = made("--set", "universe.daily_turnover_min=1e15", *run, "empty", "--json")
    assert failed.returncode not in (0, 5, 70), failed.stderr
    return made


@pytest.mark.slow
def test_a_run_has_the_bytes_and_records_of_one_over_sqlite(door: Postgres, market: Any) -> None:
    copy = type(market)(door.data)
    files, _ = copy.result("base")
    theirs, bodies = market.result("base")
    # An audit that another test asked of the shared run adds files of its own.
    assert files == {name: sha for name, sha in theirs.items() if name in files or "_audit" not in name}
    records = door.answer("ledger", "show", "base")["data"]
    assert [record["body_hash"] for record in records] == bodies


@pytest.mark.slow
def test_read_commands_answer(door: Postgres) -> None:
    assert {row["run_id"] for row in door.answer("list")["data"]} == {"base", "empty"}
    assert door.answer("status", "base")["data"]["state"] == "SUCCESS"
    assert door.answer("show", "base")["data"]["artifacts"]
    assert door.answer("logs", "base")["data"]
    assert door.answer("ledger", "verify", "base", "empty")["ok"]
    assert door("profiles", "list").returncode == 0


@pytest.mark.slow
def test_sql_is_current_and_its_surface_is_rebuilt(door: Postgres) -> None:
    query = ("sql", "SELECT run_id, state FROM runs ORDER BY run_id", "--format", "csv")
    before = door(*query)
    assert before.stdout.splitlines() == ["run_id,state", "base,SUCCESS", "empty,FAILED"], before.stderr
    assert door("sql", "--rebuild").returncode == 0
    assert door(*query).stdout == before.stdout


@pytest.mark.slow
def test_a_failed_run_is_retried_a_queued_one_cancelled_a_finished_one_resumed(door: Postgres) -> None:
    assert door("retry", "empty", "--json").returncode not in (0, 5, 70)
    attempts = [row["data"]["attempt"] for row in door.answer("ledger", "show", "empty")["data"]
                if row["code"] == "REOPENED"]  # fmt: skip
    assert attempts == [2]
    waiting = door.answer("run", "--profile", LONG, "--run-id", "waiting", "--no-wait")
    assert waiting["data"]["state"] == "QUEUED"
    assert door.answer("cancel", "waiting")["data"]["state"] == "CANCELLED"
    assert door.answer("resume", "base")["data"]["state"] == "SUCCESS"
    assert door.answer("audit", "atomic", "base")["ok"]


def checks_of(document: str) -> dict[str, Any]:
    """Rows of the doctor by name, also where one of them fails."""
    told = json.loads(document)
    found = told["data"] if told["ok"] else told["error"]["findings"]
    return {row["name"]: row for row in found}


@pytest.mark.slow
def test_doctor_sees_the_server_and_keeps_the_password(door: Postgres, tmp_path: Path) -> None:
    (door.data.parent / "dbos-config.yaml").write_text("system_database_url: ${TV_STATE_URL}\n")
    done = door("doctor", "--json")
    rows = checks_of(done.stdout)
    assert rows["state database"]["status"] == "ok", rows["state database"]
    assert "Postgres" in rows["state database"]["detail"]
    assert rows["dbos-config.yaml"]["detail"] == "agrees with the state database"
    (door.data.parent / "dbos-config.yaml").write_text(f"system_database_url: {door.url}elsewhere\n")
    other = door("doctor", "--json")
    assert checks_of(other.stdout)["dbos-config.yaml"]["status"] == "warn"
    (door.data.parent / "dbos-config.yaml").unlink()
    for text in (done.stdout, done.stderr, other.stdout, other.stderr):
        assert SECRET not in text
    assert door("doctor", "--state-url").stdout == door.url + "\n"  # the one place that prints it


@pytest.mark.slow
def test_init_makes_the_tables_where_the_settings_keep_the_state(
    postgres_server: Any, tmp_path: Path
) -> None:
    url = postgres_server.empty()
    door = Postgres(tmp_path / "data", url.replace("tests@", f"tests:{SECRET}@"))
    done = door("init", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == url
    tables = postgres_server.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'", url.rsplit("/", 1)[1]
    )
    assert ("run_ledger",) in tables
    assert not (tmp_path / "new" / "data" / "state" / "quantctl.sqlite").exists()


@pytest.mark.slow
def test_no_file_that_a_run_leaves_holds_the_password(door: Postgres) -> None:
    holding = [
        path for path in door.data.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    assert holding == []


@pytest.mark.slow
def test_a_server_that_is_away_stops_every_command_with_exit_5_and_no_secret(door: Postgres) -> None:
    away = Postgres(door.data, f"postgresql://tests:{SECRET}@127.0.0.1:1/none")
    for words in (("list",), ("status", "base"), ("sql", "SELECT 1"), ("resume", "base"),
                  ("run", "--profile", LONG, "--run-id", "new")):  # fmt: skip
        done = away(*words, "--json")
        assert done.returncode == 5, (words, done.stdout, done.stderr)
        assert json.loads(done.stdout)["error"]["code"] == "STATE_UNREACHABLE"
        assert "remedy: " in done.stderr
        assert SECRET not in done.stdout + done.stderr
    assert not (door.data / "artifacts" / "summaries" / "runs" / "new").exists()


@pytest.mark.slow
def test_a_state_url_that_cannot_be_used_is_refused(door: Postgres) -> None:
    for url, code in ((f"mysql://u:{SECRET}@h/d", "STATE_URL_UNSUPPORTED"),
                      (f"postgresql://u:{SECRET}@x@h/d", "STATE_URL_INVALID")):  # fmt: skip
        done = Postgres(door.data, url)("list", "--json")
        assert done.returncode == 2
        assert json.loads(done.stdout)["error"]["code"] == code
        assert SECRET not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kept_in", ["sqlite", "postgres"])
def test_a_read_command_loads_the_driver_of_its_database_and_no_engine(
    door: Postgres, kept_in: str, tmp_path: Path
) -> None:
    url = door.url if kept_in == "postgres" else f"sqlite:///{tmp_path}/none.sqlite"
    words = ("-m", "quantctl", "--set", f"paths.data_dir={door.data}", "list")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], text=True, capture_output=True, timeout=300,
        cwd=tmp_path, env=os.environ | {"TV_STATE_URL": url},
    )  # fmt: skip
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert ("psycopg" in loaded) == (kept_in == "postgres")
    assert not loaded & {"dbos", "sqlalchemy", "polars", "clarabel", "cvxpy", "duckdb"}
