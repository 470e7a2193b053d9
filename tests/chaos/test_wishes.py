"""A run that another process executes is cancelled, retried and resumed through that process.

Every process is real; the one at work is killed at every point of a wish, and the asking command ends
what was begun.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import wish_door
from harness.sampling import sampled

pytestmark = pytest.mark.chaos
SHORT = ("--set", "sleeve.direction=SHORT")  # the second stage refuses it


Door, run_words, stages = wish_door.Door, wish_door.run_words, wish_door.stages
wait_for, each_record_once = wish_door.wait_for, wish_door.each_record_once


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return Door(wish_door.tiny_door.prepared(tmp_path_factory.mktemp("wishes")).data)


@pytest.fixture
def door(lake: Door, tmp_path: Path) -> Door:
    return lake.copy(tmp_path)


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """A file: while it is there the first stage of a process that is told so does not end."""
    path = tmp_path / "held"
    path.touch()
    return path


def test_a_run_under_a_worker_is_cancelled_before_its_next_stage(door: Door, held: Path) -> None:
    with door.worker(HOLD=str(held)) as worker:
        assert door(*run_words("k1", "--no-wait")).returncode == 0
        door.wait_inside("tiny.double")
        asking = door.start("cancel", "k1", "--reason", "wrong day", "--json")
        wait_for(door.asked)
        held.unlink()
        out, err = asking.communicate(timeout=60)
        assert asking.returncode == 0, err
        assert json.loads(out)["data"]["state"] == "CANCELLED"
        assert worker.poll() is None
        last = door(*run_words("k2"))  # the worker goes on with the next one
        assert last.returncode == 0, last.stderr
    records = door.records()
    assert stages(records) == [
        ("tiny.double", "intent", 1), ("tiny.double", "success", 1), ("tiny.total", "skipped", 1),
    ]  # fmt: skip
    assert (records[-1]["type"], records[-1]["code"]) == ("closed", "CANCELLED")
    assert records[-1]["data"]["reason"] == "wrong day"
    assert door.engine("k1") == "CANCELLED"
    assert door("ledger", "verify", "k1").returncode == 0
    told = door("resume", "k1", "--json")
    assert (told.returncode, json.loads(told.stdout)["error"]["code"]) == (2, "RUN_CANCELLED")


def test_the_command_that_ran_a_cancelled_run_says_so_and_exits_5(door: Door, held: Path) -> None:
    running = door.start(*run_words("k1", "--json"), HOLD=str(held))
    door.wait_inside("tiny.double")
    asking = door.start("cancel", "k1", "--reason", "no")
    wait_for(door.asked)
    held.unlink()
    assert asking.wait(timeout=60) == 0
    asking.communicate()
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 5
    assert json.loads(out)["data"]["state"] == "CANCELLED"


def test_a_queued_run_is_cancelled_while_the_worker_is_busy_with_another(door: Door, held: Path) -> None:
    with door.worker(HOLD=str(held)):
        door(*run_words("k1", "--no-wait"))
        door.wait_inside("tiny.double")
        door(*run_words("k2", "--no-wait"))
        done = door("cancel", "k2", "--json")
        assert done.returncode == 0, done.stderr
        assert door.engine("k1") == "PENDING"  # the wish did not wait for the busy queue
        held.unlink()
        assert door("status", "k1", "--follow").returncode == 0
    assert stages(door.records("k2")) == [("tiny.double", "skipped", 1), ("tiny.total", "skipped", 1)]
    assert door.engine("k1") == "SUCCESS"


def test_what_ended_before_it_could_be_cancelled_is_named(door: Door) -> None:
    with door.worker(TINY_SLOW="0"):
        assert door(*run_words()).returncode == 0
        told = door("cancel", "k1", "--json")
    assert (told.returncode, json.loads(told.stdout)["error"]["code"]) == (2, "RUN_FINISHED")


def test_a_failed_run_is_retried_by_the_worker_that_lives(door: Door) -> None:
    with door.worker() as worker:
        failed = door(*SHORT, *run_words())
        assert failed.returncode == 3, failed.stderr
        again = door("retry", "k1", "--json")
        assert again.returncode == 3, again.stderr
        assert json.loads(again.stdout)["error"]["code"] == "ISOLATION_INPUT_MISSING"
        assert worker.poll() is None
    reopened = [record for record in door.records() if record["code"] == "REOPENED"]
    assert [record["data"] for record in reopened] == [{"attempt": 2, "from_stage": "tiny.total"}]
    lives = door("sql", "SELECT DISTINCT worker FROM lives", "--format", "csv")
    assert lives.stdout.split() == ["worker", "worker-1"]


def test_an_interrupted_run_is_resumed_by_the_command_that_holds_the_lock(door: Door, held: Path) -> None:
    killed = door.start(*run_words("k1"), TINY_SLOW="30")
    door.wait_inside("tiny.double")
    killed.kill()
    killed.communicate()
    busy = door.start(*run_words("k2"), HOLD=str(held))
    wait_for(lambda: door.records("k2"))
    resuming = door.start("resume", "k1")
    wait_for(lambda: door.wishes() == ["SUCCESS"])
    held.unlink()
    out, err = resuming.communicate(timeout=60)
    assert resuming.returncode == 0, out + err
    assert busy.wait(timeout=60) == 0
    busy.communicate()
    assert stages(door.records("k1")) == stages(door.records("k2"))


REFERENCE: dict[str, Any] = {}


def reference(lake: Door, root: Path, what: str) -> Any:
    """What an undisturbed cancellation or retry leaves."""
    if what not in REFERENCE:
        door = lake.copy(root / f"reference-{what}")
        prepare(door, what)
        done = door(*asked(what))
        assert done.returncode == (0 if what == "cancel" else 3), done.stderr
        REFERENCE[what] = door.result()
    return REFERENCE[what]


def prepare(door: Door, what: str) -> None:
    if what == "cancel":  # interrupted inside its first stage
        process = door.start(*run_words(), TINY_SLOW="30")
        door.wait_inside("tiny.double")
        process.kill()
        process.communicate()
    else:
        assert door(*SHORT, *run_words()).returncode == 3


def asked(what: str) -> tuple[str, ...]:
    words = {"cancel": ("cancel", "k1", "--reason", "no"), "retry": ("retry", "k1")}
    return words.get(what, ("retry", "k1", "--from-stage", "tiny.double"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "point", "after"),
    sampled([
        ("retry", "wish.taken", 0), ("retry", "retry.aside", 0), ("retry", "retry.rewound", 0),
        ("retry", "wish.fulfilled", 0),
        ("again", "attempt.moving", 0), ("again", "attempt.moved", 0), ("again", "attempt.moving", 1),
        ("again", "retry.aside", 0), ("again", "retry.rewound", 0),
    ], [("retry", "wish.fulfilled", 0), ("again", "attempt.moved", 0), ("again", "retry.aside", 0)]),
)  # fmt: skip
def test_a_worker_killed_inside_a_retry_leaves_it_to_the_asking_command(
    lake: Door, tmp_path: Path, what: str, point: str, after: int
) -> None:
    door = lake.copy(tmp_path / "door")
    prepare(door, what)
    with door.worker(DIE_AT=point, DIE_AFTER=str(after)) as worker:
        done = door(*asked(what))
        assert worker.wait(timeout=60) == -signal.SIGKILL
    assert done.returncode == 3, done.stdout + done.stderr
    assert door.result() == reference(lake, tmp_path, what)
    each_record_once(door.records())


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    sampled(
        ["wish.taken", "cancel.asked", "cancel.given_up", "cancel.closed", "wish.fulfilled"],
        ["cancel.asked", "cancel.closed"],
    ),
)
def test_a_worker_killed_inside_a_cancellation_leaves_it_to_the_asking_command(
    lake: Door, tmp_path: Path, point: str
) -> None:
    door = lake.copy(tmp_path / "door")
    with door.worker(TINY_SLOW="30") as worker:
        door(*run_words("k1", "--no-wait"))
        door.wait_inside("tiny.double")
        worker.kill()
    # A second worker would adopt the run at once; the embedded one of k2 leaves it alone.
    busy = door.start(*run_words("k2"), TINY_SLOW="30", DIE_AT=point)
    wait_for(lambda: door.records("k2"))
    done = door(*asked("cancel"))
    assert busy.wait(timeout=60) == -signal.SIGKILL
    busy.communicate()
    assert done.returncode == 0, done.stdout + done.stderr
    bodies = [record["body_hash"] for record in door.records()]
    assert bodies == reference(lake, tmp_path, "cancel")[1]
    each_record_once(door.records())
    assert door.engine("k1") == "CANCELLED"
    assert door("ledger", "verify", "k1").returncode == 0


def test_a_process_killed_while_its_run_ends_as_cancelled_leaves_that_to_the_asking_command(
    door: Door, held: Path
) -> None:
    running = door.start(*run_words(), HOLD=str(held), DIE_AT="cancel.left")
    door.wait_inside("tiny.double")
    asking = door.start("cancel", "k1", "--reason", "no")
    wait_for(door.asked)
    held.unlink()
    _, err = asking.communicate(timeout=60)
    assert running.wait(timeout=60) == -signal.SIGKILL
    running.communicate()
    assert asking.returncode == 0, err
    each_record_once(door.records())
    assert [r["type"] for r in door.records()].count("closed") == 1
    with door.worker():  # whatever the engine still has of the run comes to nothing
        wait_for(lambda: door.engine("k1") == "CANCELLED")
    assert [r["type"] for r in door.records()].count("closed") == 1


def test_a_wish_that_nobody_took_is_fulfilled_by_the_command_when_the_worker_dies(door: Door) -> None:
    with door.worker(TINY_SLOW="30") as worker:
        door(*run_words("k1", "--no-wait"))
        door.wait_inside("tiny.double")
        os.kill(worker.pid, signal.SIGSTOP)  # it holds the lock and takes nothing
        asking = door.start("cancel", "k1", "--json")
        wait_for(door.wishes)
        os.kill(worker.pid, signal.SIGKILL)
        out, err = asking.communicate(timeout=60)
    assert asking.returncode == 0, err
    assert json.loads(out)["data"]["state"] == "CANCELLED"
    assert door.wishes() == ["CANCELLED"]  # taken back, not fulfilled twice


def test_a_run_of_another_protocol_goes_on_once_it_is_adopted(door: Door) -> None:
    older = door.start(*run_words(), TINY_SLOW="30")
    door.wait_inside("tiny.double")
    older.kill()
    older.communicate()
    door.env["SPEAK"] = "alpha.v2"
    told = door("resume", "k1", "--json")
    error = json.loads(told.stdout)["error"]
    assert (told.returncode, error["code"]) == (2, "RUN_VERSION_MISMATCH")
    assert "--adopt-version" in error["remedy"]
    with door.worker() as worker:
        assert "left alone k1: protocol alpha.v1" in worker.stdout.readline()
        done = door("resume", "k1", "--adopt-version")
        assert done.returncode == 0, done.stderr
    records = door.records()
    adopted = [record for record in records if record["code"] == "VERSION_ADOPTED"]
    assert [record["data"] for record in adopted] == [{"from": "alpha.v1", "to": "alpha.v2"}]
    assert [status for _, status, _ in stages(records)] == ["intent", "success"] * 2
    assert door("ledger", "verify", "k1").returncode == 0


@pytest.mark.parametrize("point", ["adopt.booked", "wish.taken"])
def test_an_adoption_that_was_cut_off_is_booked_once(door: Door, point: str) -> None:
    older = door.start(*run_words(), TINY_SLOW="30")
    door.wait_inside("tiny.double")
    older.kill()
    older.communicate()
    door.env["SPEAK"] = "alpha.v2"
    if point == "wish.taken":
        with door.worker(DIE_AT=point) as worker:
            done = door("resume", "k1", "--adopt-version")
            assert worker.wait(timeout=60) == -signal.SIGKILL
    else:
        assert door("resume", "k1", "--adopt-version", DIE_AT=point).returncode == -signal.SIGKILL
        done = door("resume", "k1")  # it is of this version by now
    assert done.returncode == 0, done.stderr
    each_record_once(door.records())
    assert [record["code"] for record in door.records()].count("VERSION_ADOPTED") == 1


def test_a_run_whose_stages_differ_is_not_adopted(door: Door) -> None:
    older = door.start(*run_words(), TINY_SLOW="30")
    door.wait_inside("tiny.double")
    older.kill()
    older.communicate()
    told = door("resume", "k1", "--adopt-version", "--json", SPEAK="alpha.v2", TINY_CARELESS="/dev/null")
    error = json.loads(told.stdout)["error"]
    assert (told.returncode, error["code"]) == (2, "RUN_VERSION_STAGES")
    assert "stage 2 of run k1 is tiny.total, in this version it is tiny.careless" in error["message"]
    assert door("status", "k1", "--json").returncode == 0
    assert door("resume", "k1").returncode == 0  # by the version that started it


def test_on_postgres_a_run_is_cancelled_and_retried_through_the_worker_that_has_it(
    lake: Door, tmp_path: Path, held: Path, postgres_url: str
) -> None:
    door = lake.copy(tmp_path / "door", {"TV_STATE_URL": postgres_url})
    with door.worker(HOLD=str(held)) as worker:
        door(*run_words("k1", "--no-wait"))
        door.wait_inside("tiny.double")
        asking = door.start("cancel", "k1", "--reason", "wrong day")
        wait_for(door.asked)
        held.unlink()
        _, err = asking.communicate(timeout=90)
        assert asking.returncode == 0, err
        assert door(*SHORT, *run_words("k2")).returncode == 3
        again = door("retry", "k2", "--json")
        assert json.loads(again.stdout)["error"]["code"] == "ISOLATION_INPUT_MISSING"
        forked = door("fork", "k1", "--from-stage", "tiny.total", "--run-id", "f1")
        assert forked.returncode == 0, forked.stderr  # what a cancelled run has booked can be kept
        assert worker.poll() is None
    assert door.wishes() == ["SUCCESS", "SUCCESS"]
    assert door.engine("k1") == "CANCELLED"
    reopened = [record["data"] for record in door.records("k2") if record["code"] == "REOPENED"]
    assert reopened == [{"attempt": 2, "from_stage": "tiny.total"}]
    assert door("ledger", "verify", "k1", "k2", "f1").returncode == 0
