"""Batches killed anywhere equal undisturbed ones: children once each, the same records, the same bytes."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import fan_out_door as fan
import pytest

from quantctl import checks_of_runs

pytestmark = pytest.mark.chaos
Door = Any  # of tiny_door.py


batch_words, wait_for, state_of = fan.batch_words, fan.wait_for, fan.state_of


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return fan.prepared(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def undisturbed(lake: Door, tmp_path_factory: pytest.TempPathFactory) -> Door:
    door = lake.copy(tmp_path_factory.mktemp("undisturbed"))
    done = door(*batch_words())
    assert done.returncode == 0, done.stderr
    return door


def kill_now_and_then(door: Door, words: tuple[str, ...], rng: random.Random, kills: int) -> int:
    """Start the command again and again and kill it: now as it starts up, now after it booked an end.

    Then run it to its end. Returns how often it was killed.
    """
    done = 0
    for _ in range(kills):
        before, process = len(fan.booked(door)), door.start(*words)
        if rng.random() < 0.7:
            wait_for(lambda b=before, p=process: len(fan.booked(door)) > b or p.poll() is not None)
        time.sleep(1.5 * rng.random())
        done += process.poll() is None
        process.kill()
        process.communicate()
        assert_ended_children_have_one_booking(door)
    fan.end(door, words)
    return done


def assert_ended_children_have_one_booking(door: Door) -> None:
    suffixes = [suffix for suffix, _ in fan.booked(door)]
    assert len(suffixes) == len(set(suffixes))


def assert_same(door: Door, other: Door) -> None:
    ours, theirs = fan.outcome(door), fan.outcome(other)
    assert sorted(ours) == sorted(theirs)
    assert ours == theirs


def test_a_batch_killed_at_random_equals_an_undisturbed_one(
    lake: Door, undisturbed: Door, tmp_path: Path
) -> None:
    door = lake.copy(tmp_path)
    kills = kill_now_and_then(door, batch_words(), random.Random(4), 6)
    assert kills >= 3
    assert_same(door, undisturbed)
    assert [suffix for suffix, _ in fan.booked(door)] == sorted(suffix for suffix, _ in fan.booked(door))
    fan.assert_whole_trace(door)
    assert json.loads(door("ledger", "verify", "b1", "--recursive", "--json").stdout)["ok"]


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", [1, 2])
def test_hundreds_of_children_killed_at_random_equal_undisturbed_ones(
    seed: int, lake: Door, tmp_path: Path
) -> None:
    more = ("--profile", "binance_spot_rating_ma_long")
    words = batch_words("2023-01-02", "2023-04-30", *more)
    whole, door = lake.copy(tmp_path / "whole"), lake.copy(tmp_path / "killed")
    fan.end(whole, words)
    assert len(fan.children(whole)) == 238
    assert kill_now_and_then(door, words, random.Random(seed), 20) >= 15
    assert_same(door, whole)


def test_a_child_that_ended_is_not_run_again(lake: Door, tmp_path: Path) -> None:
    door = lake.copy(tmp_path)
    process = door.start(*batch_words())
    wait_for(lambda: len(fan.booked(door)) >= 3)
    process.kill()
    process.communicate()
    ended = {f"b1-{suffix}" for suffix, _ in fan.booked(door)}
    before = fan.lives(door)
    assert door(*batch_words()).returncode == 0
    after = fan.lives(door)
    assert {run: after[run] for run in ended} == {run: before[run] for run in ended}
    assert all(fan.computed(door, run) == 2 for run in fan.children(door))


def test_a_worker_with_room_for_one_run_ends_a_batch(lake: Door, undisturbed: Door, tmp_path: Path) -> None:
    """The parent takes no place that its children need."""
    door = lake.copy(tmp_path)
    one = ("--set", "orchestration.parallel=false")
    worker = door.start(*one, "worker", "--concurrency", "1")
    try:
        assert door(*batch_words("2023-02-01", "2023-02-12", "--no-wait")).returncode == 0
        wait_for(lambda: state_of(door) == "SUCCESS")
    finally:
        worker.terminate()
        worker.communicate(timeout=60)
    assert_same(door, undisturbed)


def test_a_failure_stops_the_batch_where_order_says_not_the_clock(lake: Door, tmp_path: Path) -> None:
    """Killed or not, the same children run, fail and are skipped; retry runs those that did not succeed."""
    words = batch_words("2023-02-01", "2023-02-08", "--profile", fan.SHORT, "--window", "3")
    whole, killed = lake.copy(tmp_path / "whole"), lake.copy(tmp_path / "killed")
    assert whole(*words).returncode == 3
    states = [state for _, state in fan.booked(whole)]
    assert states == ["SUCCESS"] * 8 + ["FAILED"] * 3 + ["SKIPPED"] * 5
    process = killed.start(*words)
    wait_for(lambda: len(fan.booked(killed)) >= 2)
    process.kill()
    process.communicate()
    assert killed(*words).returncode == 3
    assert_same(killed, whole)


def test_keep_going_ends_every_child(lake: Door, tmp_path: Path) -> None:
    door = lake.copy(tmp_path)
    words = batch_words("2023-02-01", "2023-02-03", "--profile", fan.SHORT, "--window", "1", "--keep-going")
    done = door(*words)
    assert done.returncode == 3
    assert f"child b1-{fan.SHORT}-20230201 failed" in done.stderr
    assert [state for _, state in fan.booked(door)] == ["SUCCESS"] * 3 + ["FAILED"] * 3


def test_retry_runs_failed_and_skipped_children_only(lake: Door, tmp_path: Path) -> None:
    door = lake.copy(tmp_path)
    words = batch_words("2023-02-01", "2023-02-06", "--window", "2")
    assert door(*words, TINY_FAILS="1").returncode == 3
    assert [state for _, state in fan.booked(door)] == ["FAILED"] * 2 + ["SKIPPED"] * 4
    assert door("retry", "b1").returncode == 0
    body = fan.artifact(door)
    assert (body["succeeded"], body["failed"], body["skipped"]) == (6, 0, 0)
    assert (door.root("b1") / "attempts" / "1" / "data" / "batch.json").exists()
    fan.assert_whole_trace(door)
    booked = fan.booked(door)[6:]
    assert booked == [(child["suffix"], "SUCCESS") for child in body["children"]]
    assert json.loads(door("ledger", "verify", "b1", "--recursive", "--json").stdout)["ok"]


def test_retry_leaves_children_that_succeeded_as_they_are(lake: Door, tmp_path: Path) -> None:
    door = lake.copy(tmp_path)
    words = batch_words("2023-02-01", "2023-02-02", "--profile", fan.SHORT)
    assert door(*words).returncode == 3
    good = [run for run in fan.children(door) if fan.PROFILE in run]
    before = {run: (fan.lives(door)[run], door.records(run)) for run in good}
    assert door("retry", "b1").returncode == 3
    assert {run: (fan.lives(door)[run], door.records(run)) for run in good} == before
    booked = [suffix for suffix, _ in fan.booked(door)]
    assert len(booked) == 4 + 2  # the ends of those that succeeded are booked once


def test_cancelling_a_batch_cancels_its_children(lake: Door, tmp_path: Path) -> None:
    door = lake.copy(tmp_path)
    process = door.start(*batch_words("2023-02-01", "2023-02-20"), TINY_SLOW="2")
    wait_for(lambda: len(fan.booked(door)) >= 1)
    cancelled = door("cancel", "b1", "--reason", "enough")
    assert cancelled.returncode == 0, cancelled.stderr
    assert process.wait(timeout=60) == 5
    process.communicate()
    assert state_of(door) == "CANCELLED"
    states = {state for _, state in fan.booked(door)}
    assert states <= {"SUCCESS", "CANCELLED", "SKIPPED"} and {"CANCELLED", "SKIPPED"} <= states
    assert len(fan.booked(door)) == 20
    assert door.records("b1")[-1]["data"]["reason"] == "enough"
    fan.assert_whole_trace(door)
    assert not [run for run in fan.children(door) if state_of(door, run) not in ("SUCCESS", "CANCELLED")]
    assert json.loads(door("ledger", "verify", "b1", "--recursive", "--json").stdout)["ok"]


def test_cancelling_a_batch_that_nobody_executes_cancels_its_children(lake: Door, tmp_path: Path) -> None:
    door = lake.copy(tmp_path)
    process = door.start(*batch_words("2023-02-01", "2023-02-10"), TINY_SLOW="2")
    wait_for(lambda: len(fan.booked(door)) >= 1)
    process.kill()
    process.communicate()
    assert door("cancel", "b1", "--reason", "enough").returncode == 0
    assert state_of(door) == "CANCELLED"
    assert len(fan.booked(door)) == 10
    assert not [run for run in fan.children(door) if state_of(door, run) not in ("SUCCESS", "CANCELLED")]


def test_another_command_leaves_the_children_of_an_interrupted_batch_alone(
    lake: Door, tmp_path: Path
) -> None:
    door = lake.copy(tmp_path)
    process = door.start(*batch_words())
    wait_for(lambda: len(fan.booked(door)) >= 1)
    process.kill()
    process.communicate()
    told = checks_of_runs.interrupted(fan.places_of(door))
    assert (told.status, told.remedy) == ("warn", "quantctl resume b1")  # which resumes its children
    before = fan.lives(door)
    done = door("run", "--profile", fan.PROFILE, "--pipeline", "tiny.full", "--run-id", "other")
    assert done.returncode == 0, done.stderr
    assert fan.lives(door) == before | {"other": 1}
    assert door("resume", "b1").returncode == 0


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_on_postgres_end_a_batch_whose_workers_are_killed(
    workers: int, lake: Door, undisturbed: Door, tmp_path: Path, postgres_url: str
) -> None:
    door = lake.copy(tmp_path, {"TV_STATE_URL": postgres_url})
    quick = ("--set", "orchestration.lease_seconds=2")
    rng, crew = random.Random(workers), []
    try:
        crew = [door.start(*quick, "worker") for _ in range(workers)]
        assert door(*batch_words("2023-02-01", "2023-02-12", "--no-wait")).returncode == 0
        for _ in range(3):
            time.sleep(1 + 3 * rng.random())
            victim = crew.pop(rng.randrange(len(crew)))
            victim.kill()
            victim.communicate()
            crew.append(door.start(*quick, "worker"))
        wait_for(lambda: state_of(door) == "SUCCESS", seconds=240)
    finally:
        for process in crew:
            process.kill()
            process.communicate()
    assert_same(door, undisturbed)
    suffixes = [suffix for suffix, _ in fan.booked(door)]
    assert suffixes == sorted(set(suffixes)) and len(suffixes) == 12
