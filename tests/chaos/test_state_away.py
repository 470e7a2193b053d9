"""The state database away, lost in mid-command, unfit or foreign: said, with its place; nothing is lost."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import front_door
import pytest
import tiny_door
from cut_wire import Wire
from harness.sampling import sampled

from quantctl.lake import state_sqlite

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

SECRET = "hunter2secret"
PROFILE = ("--profile", tiny_door.PROFILE)
# Every command that asks the state database, by what it does; each stops before the engine is there.
COMMANDS = (
    ("list",), ("status", "k1"), ("show", "k1"), ("schedule", "list"), ("schedule", "apply"),
    ("notify", "list"), ("notify", "send"), ("sql", "SELECT 1 FROM runs"), ("worker",), ("resume", "k1"),
    ("retry", "k1"), ("cancel", "k1"), ("fork", "k1", "--from-stage", "selection.policy"),
    ("run", *PROFILE, "--pipeline", "selection.full", "--run-id", "k1"),
    ("run", *PROFILE, "--pipeline", "selection.full", "--run-id", "k1", "--no-wait"),
)  # fmt: skip


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_door.prepared(tmp_path_factory.mktemp("lake"))


def refusal(told: front_door.Answer, code: str = "STATE_UNREACHABLE") -> str:
    """The typed refusal of a command, exit 5, on both streams; returns the line of the error."""
    assert told.exit == 5, told.err
    first, *more = [line for line in told.err.splitlines() if line.startswith(("error[", "remedy: "))]
    assert first.startswith(f"error[{code}] "), first
    assert [line.split()[0] for line in more] == ["remedy:"], told.err
    assert more[0] != "remedy: none known"
    assert SECRET not in told.out + told.err
    return first


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_every_command_says_that_the_server_refuses_connections(
    lake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = closed_port()
    monkeypatch.setenv("TV_STATE_URL", f"postgresql://u:{SECRET}@127.0.0.1:{port}/d")
    door = front_door.FrontDoor(lake.data)
    for words in COMMANDS:
        first = refusal(door(*words, sets=("orchestration.min_free_mb=0",)))
        assert f"[postgresql://u@127.0.0.1:{port}/d]" in first, words
    doctor = door("doctor", "--json")
    assert doctor.exit == 3
    rows = [row for row in doctor.document["error"]["findings"] if row["status"] == "fail"]
    assert {row["name"] for row in rows} == {"state database"}
    assert SECRET not in doctor.out + doctor.err


def test_commands_over_another_data_directory_are_refused_and_readers_look(
    lake: Any, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TV_STATE_URL", postgres_url)
    for name in ("one", "other"):
        lake.copy(tmp_path / name)
    one, other = (front_door.FrontDoor(tmp_path / name / "data") for name in ("one", "other"))
    queue = ("run", *PROFILE, "--pipeline", "selection.full", "--run-id", "k1", "--no-wait")
    room = ("orchestration.min_free_mb=0",)
    assert one(*queue, sets=room).exit == 0
    for words in (
        ("worker",),
        ("resume", "k1"),
        ("retry", "k1"),
        ("cancel", "k1"),
        queue,
        ("doctor", "--fix"),
    ):
        told = other(*words, sets=room)
        assert told.exit == 2, words
        assert "error[STATE_FOREIGN]" in told.err
        assert "doctor --adopt-state" in told.err
    assert "k1" in other("list").out
    found = {row["name"]: row for row in other("doctor", "--json").document["error"]["findings"]}
    assert found["state owner"]["status"] == "fail"
    one.data.rename(tmp_path / "moved")
    moved = front_door.FrontDoor(tmp_path / "moved")
    assert moved("cancel", "k1", sets=room).exit == 0
    assert other("doctor", "--adopt-state").exit == 0
    assert "error[STATE_FOREIGN]" in moved("resume", "k1").err
    assert other(*queue[:-2], "k2", "--no-wait", sets=room).exit == 0


def test_a_reader_whose_connection_breaks_says_so_or_had_all_it_asked_for(
    lake: Any, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, ends = front_door.FrontDoor(lake.copy(tmp_path).data), set()
    for length in (1, 2, 3, 5, 8, 12, 30):
        for words in (("list", "--json"), ("doctor", "--json")):
            wire = Wire(postgres_url, length)
            monkeypatch.setenv("TV_STATE_URL", wire.url.replace("tests@", f"tests:{SECRET}@"))
            told = door(*words)
            wire.cut()
            ends.add((words[0], told.exit))
            if words[0] == "list" and told.exit != 0:
                assert f"[{wire.url}]" in refusal(told)
            elif told.exit != 0:
                rows = [row for row in told.document["error"]["findings"] if row["status"] == "fail"]
                assert {row["name"] for row in rows} == {"state database"}
                assert SECRET not in told.out + told.err
    assert ends == {("list", 0), ("list", 5), ("doctor", 3)}  # a doctor asks more often


# How many packets a command and its engine send before the wire breaks: while it connects, makes the
# tables, launches, queues, executes. A whole run sends about 700, a cancel 400.
CUTS = [
    ("run", 15), ("run", 70), ("run", 170), ("run", 280), ("run", 400), ("run", 520),
    ("retry", 80), ("retry", 200), ("retry", 400), ("retry", 600),
    ("cancel", 10), ("cancel", 45), ("cancel", 110), ("cancel", 180), ("cancel", 260), ("cancel", 340),
    ("resume", 30), ("resume", 120), ("resume", 250), ("resume", 400),
    ("no-wait", 20), ("no-wait", 50), ("worker", 60), ("worker", 150), ("worker", 300),
    ("batch", 100), ("batch", 300), ("batch", 700),
]  # fmt: skip
WORDS = {
    "run": tiny_door.run_words(), "no-wait": tiny_door.run_words("k1", "--no-wait"),
    "resume": ("resume", "k1"), "retry": ("retry", "k1"), "cancel": ("cancel", "k1"), "worker": ("worker",),
    "batch": ("batch", *PROFILE, "--pipeline", "tiny.full", "--run-id", "k1", "--as-of", "2023-02-01",
              "--as-of", "2023-02-02"),
}  # fmt: skip


@pytest.mark.parametrize(("verb", "length"), sampled(CUTS, [("run", 280)]))
def test_a_connection_lost_in_the_middle_of_a_command_is_said_and_the_command_can_be_repeated(
    lake: Any, postgres_server: Any, tmp_path: Path, verb: str, length: int
) -> None:
    url = postgres_server.database()
    door = lake.copy(tmp_path, {"TV_STATE_URL": url, "TV_ORCHESTRATION__LEASE_SECONDS": "2"})
    if verb == "retry":
        assert door(*tiny_door.run_words(), TINY_FAILS="1").returncode == 3
    elif verb == "resume":
        door.killed_in("tiny.total", *tiny_door.run_words())
        time.sleep(2)  # its lease
    elif verb == "cancel":
        assert door(*tiny_door.run_words("k1", "--no-wait")).returncode == 0
    words = WORDS[verb]
    wire = Wire(url, length)
    broken = wire.url.replace("tests@", f"tests:{SECRET}@")  # trust: any password will do
    done = door(*words, TV_STATE_URL=broken)
    first = refusal(front_door.Answer(done.returncode, done.stdout, done.stderr))
    assert f"[{wire.url}]" in first
    assert "Traceback" not in done.stderr
    if verb == "worker":
        return
    again = door(*words)
    if again.returncode == 2:  # the run had ended before the wire broke
        assert "error[RUN_" in again.stderr
    else:
        assert again.returncode == 0, again.stderr
    if verb != "no-wait":
        report = door("ledger", "verify", "k1", "--json")
        assert report.returncode == 0, report.stdout


# SQLite


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_letter(path: Path) -> None:
    path.write_bytes(b"this is a letter, not a database" * 200)


UNFIT: dict[str, Callable[[Path], None]] = {"a directory": a_directory, "a letter": a_letter}


@pytest.fixture
def small(lake: Any, tmp_path: Path) -> Any:
    """The front door of a copy of the lake with an empty state database."""
    lake.copy(tmp_path)
    door = front_door.FrontDoor(tmp_path / "data")
    assert door("doctor", "--fix").exit == 0
    with contextlib.closing(sqlite3.connect(door.state)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return door


@pytest.mark.parametrize("how", UNFIT)
def test_a_state_file_that_cannot_be_one_is_named_by_every_command(small: Any, how: str) -> None:
    UNFIT[how](small.state)
    for words in COMMANDS:
        told = small(*words, sets=("orchestration.min_free_mb=0",))
        assert str(small.state) in refusal(told), words


def test_a_file_in_the_place_of_the_state_directory_is_named(small: Any) -> None:
    place = small.state.parent
    place.rename(place.with_name("aside"))
    place.write_text("")
    for words in COMMANDS:
        told = small(*words)
        assert told.exit == 2, words
        assert f"error[PATH_NOT_DIRECTORY] paths.data_dir is {place}" in told.err


def without_the_rights_of_root() -> None:
    """In a child before its command: permissions of files hold for root too."""
    libc = ctypes.CDLL(None, use_errno=True)
    drop, override, search = 24, 1, 2
    for capability in (override, search):
        if libc.prctl(drop, capability, 0, 0, 0) and os.geteuid() == 0:
            raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.parametrize(
    ("mode", "words"),
    sampled(
        [(mode, words) for mode in (0o000, 0o444)
         for words in (("list",), ("resume", "k1"), ("worker",), tiny_door.run_words())],
        [(0o000, ("list",))],
    ),
)  # fmt: skip
def test_a_state_file_without_permission_is_named(lake: Any, small: Any, mode: int, words: Any) -> None:
    small.state.chmod(mode)
    for name in ("-wal", "-shm"):
        small.state.with_name(small.state.name + name).unlink(missing_ok=True)
    small.state.parent.chmod(0o555 if mode == 0o444 else 0o755)
    door = tiny_door.Door(small.data)
    done = subprocess.run(
        door._command(words), cwd=small.data.parent, text=True, capture_output=True, timeout=120,
        preexec_fn=without_the_rights_of_root,
    )  # fmt: skip
    told = front_door.Answer(done.returncode, done.stdout, done.stderr)
    code = "DISK_READ_ONLY" if "worker.lock" in told.err else "STATE_UNREACHABLE"
    assert str(small.state.parent) in refusal(told, code)


def test_another_writer_that_does_not_end_is_said_when_patience_is_over(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_sqlite, "BUSY_SECONDS", 0.2)
    with contextlib.closing(sqlite3.connect(small.state, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for words in (
            ("worker",), ("run", *PROFILE, "--pipeline", "selection.full", "--run-id", "k1", "--no-wait")
        ):  # fmt: skip
            first = refusal(small(*words, sets=("orchestration.min_free_mb=0",)))
            assert "database is locked" in first
            assert str(small.state) in first
        assert small("list").exit == 0
        other.execute("ROLLBACK")
    done = small("run", *PROFILE, "--pipeline", "selection.full", "--run-id", "k1", "--no-wait", "--json",
                 sets=("orchestration.min_free_mb=0",))  # fmt: skip
    assert json.loads(done.out)["data"]["state"] == "QUEUED"
