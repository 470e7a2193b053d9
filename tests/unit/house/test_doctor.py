"""`quantctl doctor`: one verdict per fault, and an exit code that says whether runs can be made."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from pathlib import Path

import pytest

from quantctl.cli import main
from quantctl.contracts.records.run import PROTOCOL


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verdicts(capsys: pytest.CaptureFixture[str], exit_code: int = 0) -> dict[str, dict[str, str]]:
    """The checks by name; `exit_code` is the one that is expected."""
    capsys.readouterr()
    assert main(["doctor", "--json"]) == exit_code
    document = json.loads(capsys.readouterr().out)
    rows = document["data"] if exit_code == 0 else document["error"]["findings"]
    return {row["name"]: row for row in rows}


def test_an_empty_directory_is_fit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = verdicts(capsys)
    assert {row["status"] for row in found.values()} == {"ok"}
    assert found["state database"]["detail"] == "not created yet"
    assert found["lake"]["detail"] == "not created yet"
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("below", ["", "/deeper/still"])
@pytest.mark.parametrize("words", [["list"], ["doctor"], ["sql", "SELECT 1"], ["worker"], ["data", "audit"]])
def test_a_file_in_the_place_of_a_directory_is_the_users_to_move(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], below: str
) -> None:
    (here / "taken").write_text("mine")
    assert main(["--set", f"paths.data_dir=taken{below}", *words]) == 2
    assert "error[PATH_NOT_DIRECTORY]" in capsys.readouterr().err
    assert (here / "taken").read_text() == "mine"


def test_a_lock_file_whose_holder_died_is_no_worker(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "."]) == 0
    lock = here / "data" / "state" / "worker.lock"
    lock.write_text("host-4242-dead")
    assert verdicts(capsys)["worker"] == {
        "name": "worker", "status": "ok", "detail": "none alive", "remedy": "",
    }  # fmt: skip


def test_a_held_lock_names_its_holder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "."]) == 0
    lock = here / "data" / "state" / "worker.lock"
    lock.write_text("host-4242-alive")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert verdicts(capsys)["worker"]["detail"] == "host-4242-alive is alive"


def test_a_pending_run_of_another_protocol_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "."]) == 0
    with sqlite3.connect(here / "data" / "state" / "quantctl.sqlite") as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS workflow_status "
            "(workflow_uuid TEXT, status TEXT, application_version TEXT, executor_id TEXT)"
        )
        connection.executemany(
            "INSERT INTO workflow_status VALUES (?, ?, ?, 'run-gone')",
            [("old", "PENDING", "stages-0"), ("done", "SUCCESS", "stages-0"), ("ours", "PENDING", PROTOCOL)],
        )
    connection.close()
    found = verdicts(capsys)
    row = found["protocol"]
    assert row["status"] == "warn"
    assert row["detail"] == "runs of another protocol: old"
    assert row["remedy"] == "quantctl resume old --adopt-version"
    assert found["worker"]["detail"] == "none alive; gone, and its runs not taken up: run-gone"
    assert found["worker"]["remedy"] == "quantctl worker"


def execute(here: Path, statement: str, *given: object) -> None:
    """One statement on the state database."""
    with contextlib.closing(sqlite3.connect(here / "data" / "state" / "quantctl.sqlite")) as connection:
        connection.execute(statement, given)
        connection.commit()


def test_a_clock_behind_the_newest_record_is_seen(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "."]) == 0
    execute(
        here,
        "INSERT INTO runs VALUES ('r1', 'p', 'alpha.full', 't', NULL, NULL, '2999', 'SUCCESS', NULL, 1, 0,"
        " NULL, NULL, 3, 'h', '2999-01-01T00:00:00.000000Z', NULL)",
    )
    row = verdicts(capsys)["clock"]
    assert row["status"] == "warn"
    assert row["detail"].endswith("behind the newest record, 2999-01-01T00:00:00.000000Z of r1")


def schedule(here: Path, noticed_until: str) -> None:
    """An hourly schedule of the profile `nightly`, noticed until then."""
    execute(
        here, "INSERT INTO schedules VALUES ('nightly', 'data.full', '0 * * * *', NULL, 'UTC', 1, 'one',"
        " 300.0, 'a', ?)", noticed_until,
    )  # fmt: skip


def test_a_schedule_that_nobody_fired_is_seen(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "."]) == 0
    schedule(here, "2026-03-01T12:00:00Z")
    row = verdicts(capsys)["schedules"]
    assert row["detail"] == "nightly missed 2026-03-01T13:00:00Z, no worker fired it"
    assert row["remedy"] == "quantctl worker"


def test_a_schedule_whose_last_time_started_nothing_says_why(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "."]) == 0
    schedule(here, "2999-03-01T12:00:00Z")
    assert verdicts(capsys)["schedules"]["detail"] == "1 applied, none is late"
    execute(
        here, "INSERT INTO schedule_times VALUES ('nightly', '2026-03-01T12:00:00Z', 'nightly_x', 'REFUSED',"
        " 'LAKE_MISSING', 'there is no lake', 'now')",
    )  # fmt: skip
    row = verdicts(capsys)["schedules"]
    assert row["status"] == "warn"
    assert row["detail"].endswith("was REFUSED: LAKE_MISSING there is no lake")
    assert "nightly_x" in row["remedy"]


def test_an_end_that_nobody_was_told_of_names_run_and_command(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "."]) == 0
    execute(
        here, "INSERT INTO notices VALUES ('r1', 9, 'webhook', '{}', '{}', 'DROPPED', 5, '2026', NULL, 'no')"
    )  # fmt: skip
    row = verdicts(capsys)["notices"]
    assert row == {
        "name": "notices", "status": "warn", "detail": "r1 by webhook, 5 tries: no",
        "remedy": "quantctl notify send r1",
    }  # fmt: skip


def test_a_stray_database_fails_as_the_worker_would(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "quantctl.sqlite").write_bytes(b"")
    row = verdicts(capsys, exit_code=3)["stray database"]
    assert row["status"] == "fail"
    assert "quantctl.sqlite" in row["detail"]
    assert row["remedy"].startswith("remove quantctl.sqlite")


def test_a_state_database_here_on_purpose_is_no_stray(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TV_STATE_URL", f"sqlite:///{here}/quantctl.sqlite")
    assert main(["init", "."]) == 0
    assert verdicts(capsys)["stray database"]["status"] == "ok"


def test_the_engine_file_reads_the_variable(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "dbos-config.yaml").write_text("name: quantctl\nsystem_database_url: ${TV_STATE_URL}\n")
    row = verdicts(capsys)["dbos-config.yaml"]
    assert row["status"] == "ok"
    assert "unset" in row["detail"]
    monkeypatch.setenv("TV_STATE_URL", f"sqlite:///{here}/elsewhere.sqlite")
    (here / "dbos-config.yaml").write_text("system_database_url: sqlite:///data/state/quantctl.sqlite\n")
    assert verdicts(capsys)["dbos-config.yaml"]["status"] == "warn"
    (here / "dbos-config.yaml").write_text("name: quantctl\nsystem_database_url: ${TV_STATE_URL}\n")
    monkeypatch.setenv("TV_STATE_URL", f"sqlite:///{here}/data/state/quantctl.sqlite")
    assert verdicts(capsys)["dbos-config.yaml"]["status"] == "ok"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_that_cannot_be_written_fails(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here.chmod(0o500)
    try:
        assert verdicts(capsys, exit_code=3)["directories"]["status"] == "fail"
    finally:
        here.chmod(0o700)


def test_an_unknown_variable_is_a_warning(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TV_HTR__FLOR", "3")
    assert verdicts(capsys)["variables"]["status"] == "warn"
