"""What befalls a process: signals, no memory, a newer version, a lake that grows, a second command."""

from __future__ import annotations

import itertools
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny_door
from harness.sampling import sampled

pytestmark = [pytest.mark.chaos, pytest.mark.slow]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_door.prepared(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def finished(lake: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    door = lake.copy(tmp_path_factory.mktemp("finished"))
    assert door(*tiny_door.run_words()).returncode == 0
    return door


@pytest.mark.parametrize(
    ("number", "stage"),
    sampled(
        itertools.product([signal.SIGINT, signal.SIGTERM], ["tiny.double", "tiny.total"]),
        [(signal.SIGTERM, "tiny.double"), (signal.SIGINT, "tiny.total")],
    ),
)
def test_a_signal_in_a_stage_is_exit_5_with_a_trace_and_the_same_run_later(
    lake: Any, finished: Any, tmp_path: Path, number: int, stage: str, state_env: dict[str, str]
) -> None:
    door = lake.copy(tmp_path, state_env)
    process = door.start(*tiny_door.run_words(), TINY_SLOW="2", TINY_SLOW_AT=stage)
    door.wait_inside(stage)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    if stage == "tiny.total":  # nothing is left to interrupt: the last stage ends, and so does the run
        assert process.returncode == 0, errors
    else:
        assert process.returncode == 5, errors
        trace = door.trace()
        assert (trace["complete"], [life["reason"] for life in trace["lives"]]) == (False, ["INTERRUPTED"])
        ids = {span["span_id"] for span in trace["spans"]} | {None}
        assert all(span["parent_span_id"] in ids for span in trace["spans"])
        assert door("resume", "k1").returncode == 0
    assert door.trace()["complete"] is True
    assert door.result() == finished.result()


def test_a_stage_without_memory_leaves_a_run_that_can_go_on(lake: Any, finished: Any, tmp_path: Path) -> None:
    door = lake.copy(tmp_path)
    stopped = door(*tiny_door.run_words(), "--json", TINY_GREEDY="1")
    assert stopped.returncode == 5, stopped.stderr
    error = json.loads(stopped.stdout)["error"]
    assert (error["code"], error["run_id"]) == ("OUT_OF_MEMORY", "k1")
    assert [life["reason"] for life in door.trace()["lives"]] == ["OUT_OF_MEMORY"]
    cut = [span for span in door.trace()["spans"] if span["name"] == "tiny.total"]
    assert [span["attributes"].get("quant.interrupted") for span in cut] == [True]
    assert door("resume", "k1").returncode == 0
    assert door.result() == finished.result()


def test_a_newer_protocol_refuses_to_go_on_and_the_old_one_still_does(
    lake: Any, finished: Any, tmp_path: Path
) -> None:
    door = lake.copy(tmp_path)
    door.killed_in("tiny.total", *tiny_door.run_words())
    refused = door("resume", "k1", "--json", DOOR_PROTOCOL="alpha.v2")
    assert refused.returncode == 2, refused.stderr
    assert json.loads(refused.stdout)["error"]["code"] == "RUN_VERSION_MISMATCH"
    assert door("status", "k1", "--exit-code").returncode == 5
    assert door("resume", "k1").returncode == 0
    assert door.result() == finished.result()


def test_a_lake_that_grows_under_a_run_changes_nothing_of_it(
    lake: Any, finished: Any, tmp_path: Path
) -> None:
    door = lake.copy(tmp_path)
    door.killed_in("tiny.total", *tiny_door.run_words())
    before = door("lake", "snapshots", "--json").stdout
    done = door("data", "simulate", "--symbols", "14", "--days", "130", "--exchange", "OTHER")
    assert done.returncode == 0, done.stderr
    assert door("lake", "snapshots", "--json").stdout != before
    refused = door(*tiny_door.run_words(), "--json")  # the newest snapshot is another input
    assert json.loads(refused.stdout)["error"]["code"] == "RUN_ID_CONFLICT"
    assert door("resume", "k1").returncode == 0
    assert door.result() == finished.result()


def test_two_commands_at_once_make_one_run(
    lake: Any, finished: Any, tmp_path: Path, state_env: dict[str, str]
) -> None:
    door = lake.copy(tmp_path, state_env)
    commands = [door.start(*tiny_door.run_words(), TINY_SLOW="2") for _ in range(2)]
    for command in commands:
        _, errors = command.communicate(timeout=120)
        assert command.returncode == 0, errors
    assert door.result() == finished.result()
    trace = door.trace()
    assert [span["name"] for span in trace["spans"]].count("tiny.double") == 1
    assert [life["reason"] for life in trace["lives"]] == ["finished"]


def test_a_follower_finishes_what_a_killed_worker_left_in_one_trace(
    lake: Any, tmp_path: Path, state_env: dict[str, str]
) -> None:
    soon = {"TV_ORCHESTRATION__LEASE_SECONDS": "5"}  # its origin stands in the manifest and in INDEX.md
    undisturbed = lake.copy(tmp_path / "undisturbed", soon)
    assert undisturbed(*tiny_door.run_words()).returncode == 0
    door = lake.copy(tmp_path, state_env | soon)
    worker = door.start("worker", TINY_SLOW="60", TINY_SLOW_AT="tiny.total")
    assert worker.stdout is not None
    assert "serves" in worker.stdout.readline()
    follower = door.start(*tiny_door.run_words())
    door.wait_inside("tiny.total")
    worker.kill()
    worker.communicate()
    _, errors = follower.communicate(timeout=120)
    assert follower.returncode == 0, errors
    assert door.result() == undisturbed.result()
    trace = door.trace()
    assert [life["reason"] for life in trace["lives"]] == ["KILLED", "finished"]
    assert len({life["worker"] for life in trace["lives"]}) == 2
    assert [s["name"] for s in trace["spans"] if s["parent_span_id"] is None] == ["run tiny.full"]
