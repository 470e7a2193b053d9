"""Runs of another workflow protocol, over a Postgres that workers of both versions share.

An adoption is one transaction: it takes the run from whoever had it, or it is refused.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fan_out_door as fan
import postgres_door
import pytest
import wish_door
from harness.sampling import sampled

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
NEXT = {"SPEAK": "alpha.v2"}  # the version that adopts; runs are started by alpha.v1
ADOPT = ("resume", "k1", "--adopt-version", "--json")

Door, bury, run_words, wait_for = (
    postgres_door.Door,
    postgres_door.bury,
    wish_door.run_words,
    wish_door.wait_for,
)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return wish_door.tiny_door.prepared(tmp_path_factory.mktemp("lake"))


@pytest.fixture
def door(lake: Any, tmp_path: Path, postgres_url: str) -> Iterator[Any]:
    lake.copy(tmp_path / "door")
    found = Door(tmp_path / "door" / "data", postgres_url)
    yield found
    found.dismiss()


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """A file: while it is there the first stage of a process that is told so does not end."""
    path = tmp_path / "held"
    path.touch()
    return path


def left_by_a_dead_worker(door: Any) -> None:
    """Let `k1` be cut off in its first stage by a process of the older version."""
    door.killed_in("tiny.double", *run_words())
    bury(door)


def held_by_a_live_worker(door: Any, held: Path) -> subprocess.Popen[str]:
    """Let a process of the older version be at work in the first stage of `k1`; it beats every 2 s."""
    door.lease = 6
    older = door.start(*run_words(), HOLD=str(held))
    door.hired.append(older)
    door.wait_inside("tiny.double")
    door.lease = 2
    return older


def refusal(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    return done.returncode, json.loads(done.stdout)["error"]["code"]


def adoptions(door: Any) -> list[dict[str, str]]:
    return [record["data"] for record in door.records() if record["code"] == "VERSION_ADOPTED"]


def assert_adopted_once(door: Any) -> None:
    door.sound()
    assert adoptions(door) == [{"from": "alpha.v1", "to": "alpha.v2"}]
    assert [status for _, status, _ in wish_door.stages(door.records())] == ["intent", "success"] * 2
    assert door.engine("k1") == "SUCCESS"


@pytest.mark.parametrize(
    ("who", "point"),
    sampled([
        ("command", "adopt.booked"), ("command", "transaction.begin"), ("command", "engine.launched"),
        *(("worker", point) for point in ("wish.taken", "adopt.booked", "wish.fulfilled")),
        *(("another", point) for point in ("wish.taken", "adopt.booked", "wish.fulfilled")),
    ], []),
)  # fmt: skip
def test_an_adoption_that_is_cut_off_before_the_next_stage_is_booked_once(
    door: Any, who: str, point: str
) -> None:
    """By the command itself; by a worker, so that the command goes on; so that another worker does."""
    left_by_a_dead_worker(door)
    if who == "command":
        assert door(*ADOPT, **NEXT, DIE_AT=point).returncode == -signal.SIGKILL
        bury(door)
        done = door(*(ADOPT if not adoptions(door) else ADOPT[:2]), **NEXT)
    else:
        other = door.hire(lease=3600, **NEXT) if who == "another" else None
        if other is not None:
            os.kill(other.pid, signal.SIGSTOP)
        worker = door.hire(**NEXT, DIE_AT=point)
        asking = door.start(*ADOPT, **NEXT)
        assert worker.wait(60) == -signal.SIGKILL
        if other is not None:
            os.kill(other.pid, signal.SIGCONT)
        out, err = asking.communicate(timeout=120)
        done = subprocess.CompletedProcess(asking.args, asking.returncode, out, err)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_adopted_once(door)


def assert_kept(door: Any, older: Any, held: Path) -> None:
    """Let the older worker go on, and assert that it ended its run and nobody adopted it."""
    held.unlink()
    older.communicate(timeout=60)
    assert older.returncode == 0
    door.sound()
    assert adoptions(door) == []


def test_a_run_that_a_live_worker_of_another_version_executes_is_not_adopted(door: Any, held: Path) -> None:
    older = held_by_a_live_worker(door, held)
    done = door(*ADOPT, **NEXT)
    assert refusal(done) == (2, "RUN_VERSION_MISMATCH"), done.stderr
    assert "run-k1 executes it" in done.stderr
    assert "quantctl status k1 --follow" in json.loads(done.stdout)["error"]["remedy"]
    assert_kept(door, older, held)


@pytest.mark.exhaustive
def test_a_worker_of_another_version_that_wakes_before_the_adoption_keeps_its_run(
    door: Any, held: Path
) -> None:
    """It seemed dead when that was asked, and lives when a worker does what was asked."""
    older = held_by_a_live_worker(door, held)
    adopter = door.hire(lease=3600, **NEXT)
    for process in (older, adopter):
        os.kill(process.pid, signal.SIGSTOP)
    bury(door)
    asking = door.start(*ADOPT, **NEXT)
    wait_for(door.wishes)
    os.kill(older.pid, signal.SIGCONT)
    wait_for(lambda: door.rows("SELECT 1 FROM workers WHERE worker = 'run-k1' AND expires > 0"))
    os.kill(adopter.pid, signal.SIGCONT)
    out, err = asking.communicate(timeout=60)
    assert (asking.returncode, json.loads(out)["error"]["code"]) == (2, "RUN_VERSION_MISMATCH"), err
    assert_kept(door, older, held)


@pytest.mark.exhaustive
def test_a_worker_of_another_version_that_wakes_after_the_adoption_has_lost_its_run(
    door: Any, held: Path
) -> None:
    older = held_by_a_live_worker(door, held)
    os.kill(older.pid, signal.SIGSTOP)
    bury(door)
    done = door(*ADOPT, **NEXT)
    assert done.returncode == 0, done.stderr
    assert_adopted_once(door)
    files, records = door.result()
    held.unlink()
    os.kill(older.pid, signal.SIGCONT)
    older.communicate(timeout=60)
    assert older.returncode == 0  # it follows what another process brought to its end
    assert door.result() == (files, records)


@pytest.mark.exhaustive
def test_what_no_worker_of_this_version_can_adopt_is_said_not_waited_for(door: Any) -> None:
    """A run that waits for a resume, and a live worker of the older version that takes no wish of ours."""
    older = door.hire(lease=3600)
    os.kill(older.pid, signal.SIGSTOP)
    assert door(*run_words("k1", "--embedded"), TINY_GREEDY="1").returncode == 5
    os.kill(older.pid, signal.SIGCONT)
    done = door(*ADOPT, **NEXT)
    assert refusal(done) == (2, "WORKER_BUSY"), done.stderr
    assert door("resume", "k1").returncode == 0
    assert adoptions(door) == []


@pytest.mark.exhaustive
def test_a_failed_run_of_another_version_is_not_sent_from_one_refusal_to_the_next(door: Any) -> None:
    assert door("--set", "sleeve.direction=SHORT", *run_words()).returncode == 3
    done = door("retry", "k1", "--json", **NEXT)
    assert refusal(done) == (2, "RUN_VERSION_MISMATCH")
    remedy = json.loads(done.stdout)["error"]["remedy"]
    assert "--adopt-version" not in remedy
    assert "the version that started it" in remedy


BATCH = fan.batch_words("2023-02-01", "2023-02-04")


@pytest.mark.exhaustive
@pytest.mark.parametrize("kept_in", ["sqlite", "postgres"])
def test_a_batch_is_adopted_with_its_children(
    lake: Any, tmp_path: Path, request: pytest.FixtureRequest, kept_in: str
) -> None:
    if kept_in == "postgres":
        lake.copy(tmp_path / "batch")
        door = Door(tmp_path / "batch" / "data", request.getfixturevalue("postgres_url"))
    else:
        door = wish_door.Door(lake.copy(tmp_path / "batch").data)
    older = door.start(*BATCH, TINY_SLOW="60")
    wait_for(lambda: len(fan.children(door)) == 2)
    for child in fan.children(door):
        door.wait_inside("tiny.double", child)
    older.kill()
    older.communicate()
    if kept_in == "postgres":
        bury(door, "run-b1")
    done = door("resume", "b1", "--adopt-version", "--json", **NEXT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [state for _, state in fan.booked(door)] == ["SUCCESS"] * 4
    adopted = [run for run in ("b1", *fan.children(door))
               if "VERSION_ADOPTED" in [record["code"] for record in door.records(run)]]  # fmt: skip
    assert adopted == ["b1", *fan.children(door)]  # two were at work, two waited
    assert door("ledger", "verify", "b1", "--recursive").returncode == 0
