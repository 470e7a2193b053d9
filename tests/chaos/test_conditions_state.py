"""A state database that is damaged, full or gone, and a clock that is set back: said, never worked around."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_door
from harness.sampling import sampled

pytestmark = [pytest.mark.chaos, pytest.mark.slow]


READS = (("status", "k1"), ("list",), ("show", "k1"), ("ledger", "show", "k1"), ("sql", "SELECT 1 FROM runs"))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_door.prepared(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def finished(lake: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    door = lake.copy(tmp_path_factory.mktemp("finished"))
    assert door(*tiny_door.run_words()).returncode == 0
    return door


def state_file(door: Any) -> Path:
    return door.data / "state" / "quantctl.sqlite"


def settle(door: Any) -> None:
    """Fold the write-ahead log into the file, so that what is damaged is what is read."""
    with contextlib.closing(sqlite3.connect(state_file(door))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def every_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for page in range(4096 * 3, len(data), 4096):
        data[page] ^= 0xFF
    path.write_bytes(bytes(data))


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "no database": lambda path: path.write_bytes(b"this is a letter, not a database" * 200),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:40_000]),
    "pages": every_page,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_state_database_is_named_by_every_command_and_left_as_it_is(
    finished: Any, tmp_path: Path, how: str
) -> None:
    door = finished.whole_copy(tmp_path)
    settle(door)
    DAMAGE[how](state_file(door))
    damaged, artifacts = state_file(door).read_bytes(), door.files()
    for words in (("status", "k1"), ("resume", "k1"), tiny_door.run_words("k2")):
        done = door(*words, "--json")
        assert done.returncode == 5, f"{words}: {done.stderr}"
        error = json.loads(done.stdout)["error"]
        assert error["code"] == "STATE_UNREACHABLE"
        assert str(state_file(door)) in done.stderr
        assert error["remedy"]
    told = door("doctor")
    assert told.returncode == 3
    assert "state database    fail" in told.stdout
    assert state_file(door).read_bytes() == damaged
    assert door.files() == artifacts


def test_runs_without_a_state_database_are_neither_lost_nor_begun_anew(finished: Any, tmp_path: Path) -> None:
    door = finished.whole_copy(tmp_path)
    settle(door)
    kept = state_file(door).read_bytes()
    state_file(door).unlink()
    artifacts = door.files()
    for words in (("status", "k1"), ("resume", "k1"), ("retry", "k1"), tiny_door.run_words()):
        done = door(*words, "--json")
        assert done.returncode == 3, f"{words}: {done.stderr}"
        assert json.loads(done.stdout)["error"]["code"] == "RUN_UNRECORDED"
        assert "restore the state database" in done.stderr
    told = door("doctor")
    assert told.returncode == 3
    assert "no record of 1 run directories, k1 among them" in told.stdout
    fresh = door(*tiny_door.run_words("k2"))  # another id is a clear new start
    assert fresh.returncode == 0, fresh.stderr
    assert door.files("k1") == {path: data for path, data in artifacts.items() if path.startswith("k1/")}
    for name in ("quantctl.sqlite-wal", "quantctl.sqlite-shm"):
        (door.data / "state" / name).unlink(missing_ok=True)
    state_file(door).write_bytes(kept)
    assert door("status", "k1", "--exit-code").returncode == 0
    assert door("ledger", "verify", "k1").returncode == 0


def test_reading_needs_no_state_database_where_there_was_never_a_run(lake: Any, tmp_path: Path) -> None:
    door = lake.copy(tmp_path)
    assert door("list").returncode == 0
    assert door("doctor").returncode == 0
    done = door("status", "k1", "--json")
    assert json.loads(done.stdout)["error"]["code"] == "RUN_NOT_FOUND"


@pytest.mark.parametrize("more", sampled([0, 2, 5], [2]))
def test_a_full_disk_below_the_state_database_leaves_a_run_that_can_go_on(
    finished: Any, tmp_path: Path, more: int
) -> None:
    door = finished.whole_copy(tmp_path)
    settle(door)
    with contextlib.closing(sqlite3.connect(state_file(door))) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    stopped = door(*tiny_door.run_words("k2"), "--json", DOOR_PAGES=str(pages + more))
    assert stopped.returncode == 5, stopped.stderr
    assert json.loads(stopped.stdout)["error"]["code"] == "STATE_UNREACHABLE"
    assert door("status", "k1", "--exit-code").returncode == 0
    done = door(*tiny_door.run_words("k2"))
    assert done.returncode == 0, done.stderr
    assert door("ledger", "verify", "k2").returncode == 0
    undisturbed = finished.whole_copy(tmp_path / "other")
    assert undisturbed(*tiny_door.run_words("k2")).returncode == 0
    assert door.result("k2") == undisturbed.result("k2")


def test_a_clock_that_is_set_back_between_two_lives_keeps_the_ledger_in_order(
    lake: Any, finished: Any, tmp_path: Path, state_env: dict[str, str]
) -> None:
    door = lake.copy(tmp_path, state_env)
    door.killed_in("tiny.total", *tiny_door.run_words())
    before = door.records()[-1]["ts"]
    done = door("resume", "k1", DOOR_CLOCK="48")
    assert done.returncode == 0, done.stderr
    stamps = [record["ts"] for record in door.records()]
    assert stamps == sorted(stamps)
    assert stamps[-1] == before  # two days ago is before it
    assert door("ledger", "verify", "k1").returncode == 0
    assert door.trace()["lives"][1]["started"] < door.trace()["lives"][0]["started"]  # a fact of that process
    durations = [span["duration_ms"] for span in door.trace()["spans"]]
    assert min(durations) >= 0
    assert door.result() == finished.result()
