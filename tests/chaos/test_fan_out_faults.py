"""A batch that meets a full disk, or is killed while it is cancelled or retried, ends as if undisturbed."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import fan_out_door as fan
import pytest
from harness.sampling import sampled

from quantctl.verification import verify_ledger

pytestmark = pytest.mark.chaos
DAYS = ("2023-02-01", "2023-02-03")
CHILD, PARENT = "b1-20230202", "b1"
CANCEL = ("cancel", "b1", "--reason", "enough")
# Write points of each run before those of its SQL surface, whose failure is logged and stops nothing.
POINTS = [(run_id, number) for run_id, most in ((CHILD, 72), (PARENT, 107)) for number in range(1, most, 7)]
CANCELLED_AT = [
    ("cancel.asked", 0), ("cancel.asked", 1), ("cancel.asked", 2), ("cancel.given_up", 0),
    ("cancel.given_up", 1), ("cancel.closed", 0), ("cancel.closed", 1), ("transaction.filled", 0),
    ("transaction.committed", 0), ("transaction.committed", 2), ("child.begun", 0), ("cancel.left", 0),
    ("life.ended", 0), ("projection.parts", 1),
]  # fmt: skip
RETRIED_AT = [
    ("retry.aside", 0), ("retry.aside", 1), ("retry.aside", 2), ("retry.rewound", 0), ("retry.rewound", 1),
    ("retry.rewound", 2), ("attempt.moved", 0), ("child.begun", 0), ("child.begun", 1),
    ("transaction.committed", 1), ("transaction.committed", 5), ("life.ended", 0), ("life.ended", 3),
]  # fmt: skip


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> fan.Door:
    return fan.prepared(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def undisturbed(lake: fan.Door, tmp_path_factory: pytest.TempPathFactory) -> fan.Door:
    door = lake.copy(tmp_path_factory.mktemp("undisturbed"))
    assert door(*fan.batch_words(*DAYS)).returncode == 0
    return door


def killed_midway(door: fan.Door) -> None:
    """A batch of six children, of which two have ended as booked, three have begun and one has not."""
    words = fan.batch_words("2023-02-01", "2023-02-06", "--window", "3")
    slow = {"TINY_SLOW": "1"}  # the third and the fourth are in their first stage when the second is booked
    assert door(*words, DIE_AT="child.begun", DIE_AFTER="4", **slow).returncode == -signal.SIGKILL


def failed(door: fan.Door) -> None:
    """A batch of four children: the first two fail, the others never begin."""
    words = fan.batch_words("2023-02-01", "2023-02-04", "--window", "2")
    assert door(*words, TINY_FAILS="1").returncode == 3


BEFORE = {"cancel": killed_midway, "retry": failed}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.exhaustive)])
def kept_in(request: pytest.FixtureRequest) -> Any:
    """The server that keeps the state, or null where it lies in a file."""
    return request.getfixturevalue("postgres_server") if request.param == "postgres" else None


@pytest.fixture(scope="module")
def ground(kept_in: Any, lake: fan.Door, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes the same batch again and again, ready to be cancelled or retried."""
    made: dict[str, fan.Door] = {}

    def fresh(what: str, root: Path) -> fan.Door:
        if kept_in is not None:
            door = lake.copy(root, {"TV_STATE_URL": str(kept_in.database())})
            BEFORE[what](door)
            return door
        if what not in made:
            made[what] = lake.copy(tmp_path_factory.mktemp(what))
            BEFORE[what](made[what])
        return made[what].whole_copy(root)

    return fresh


def assert_sound(door: fan.Door) -> None:
    """Every chain holds, every run is over, every record is there once."""
    for run_id in ("b1", *fan.children(door)):
        assert verify_ledger(fan.places_of(door), run_id)["findings"] == []
        records = door.records(run_id)
        assert [record["seq"] for record in records] == list(range(len(records)))
        assert records[-1]["type"] == "closed"
        lines = (door.root(run_id) / "audit.jsonl").read_bytes().splitlines()
        assert [json.loads(line)["hash"] for line in lines] == [record["hash"] for record in records]
    fan.assert_whole_trace(door)


@pytest.mark.parametrize(
    ("point", "spans"),
    sampled([("compute.begin", 2), ("compute.ended", 2), ("compute.checkpointed", 1)], []),
)
def test_a_stage_that_is_only_replayed_has_no_second_span(
    point: str, spans: int, lake: fan.Door, tmp_path: Path
) -> None:
    door = lake.copy(tmp_path)
    words = fan.batch_words(*DAYS)
    assert door(*words, DIE_AT=point, IN_RUN=PARENT).returncode == -signal.SIGKILL
    assert door(*words).returncode == 0
    assert_sound(door)
    of_stage = [span for span in door.trace(PARENT)["spans"] if span["name"] == "batch.children"]
    named = [record["span_id"] for record in door.records(PARENT) if record["status"] == "success"]
    assert len(of_stage) == spans
    assert [(span["span_id"], span["status"]) for span in of_stage][-1] == (named[0], "OK")


@pytest.mark.parametrize(("run_id", "number"), sampled(POINTS, [(CHILD, 29)]))
def test_a_full_disk_stops_the_batch_and_resume_ends_it_with_the_same_bytes(
    run_id: str, number: int, lake: fan.Door, undisturbed: fan.Door, tmp_path: Path
) -> None:
    door = lake.copy(tmp_path)
    stopped = door(*fan.batch_words(*DAYS), "--json", FAIL_AT=str(number), IN_RUN=run_id)
    assert stopped.returncode == 5, stopped.stderr
    error = json.loads(stopped.stdout)["error"]
    assert (error["code"], error["run_id"]) == ("DISK_FULL", "b1")
    assert error["remedy"].endswith("quantctl resume b1")
    assert error["message"].startswith(f"child {CHILD}: ") == (run_id == CHILD)
    assert list(door.data.rglob(".tmp-*")) == []
    assert {state for _, state in fan.booked(door)} <= {"SUCCESS"}  # the fault is nobody's outcome
    assert fan.state_of(door) in ("INTERRUPTED", "SUCCESS")  # SUCCESS: only projections were behind
    resumed = door("resume", "b1")
    assert resumed.returncode == 0, resumed.stderr
    assert fan.outcome(door) == fan.outcome(undisturbed)
    assert len(fan.booked(door)) == 3
    assert_sound(door)


@pytest.mark.parametrize(("point", "after"), sampled(CANCELLED_AT, [("cancel.given_up", 0)]))
def test_a_cancellation_killed_anywhere_is_ended_by_the_same_command(
    point: str, after: int, ground: Any, kept_in: Any, tmp_path: Path
) -> None:
    door = ground("cancel", tmp_path / "killed")
    killed = door(*CANCEL, DIE_AT=point, DIE_AFTER=str(after))
    # Where the batch is made anew for each case, fewer children may be left to cancel.
    reached = (-signal.SIGKILL,) if kept_in is None else (-signal.SIGKILL, 0)
    assert killed.returncode in reached, killed.stdout + killed.stderr
    again = door(*CANCEL)
    assert again.returncode == 0 or "RUN_FINISHED" in again.stderr, again.stderr
    assert fan.state_of(door) == "CANCELLED"
    booked = fan.booked(door)
    assert [suffix for suffix, _ in booked] == [f"2023020{day}" for day in range(1, 7)]
    states = {state for _, state in booked}
    assert states == {"SUCCESS", "CANCELLED", "SKIPPED"} or (
        kept_in is not None and states == {"SUCCESS", "SKIPPED"}  # quicker than a dead lease
    )
    assert door.records("b1")[-1]["data"]["reason"] == "enough"
    assert_sound(door)
    if kept_in is None:  # the same batch, killed at the same place: what follows is one and the same
        whole = ground("cancel", tmp_path / "whole")
        assert whole(*CANCEL).returncode == 0
        assert fan.outcome(door) == fan.outcome(whole)


@pytest.mark.parametrize(("point", "after"), sampled(RETRIED_AT, [("retry.rewound", 1)]))
def test_a_retry_killed_anywhere_is_ended_by_the_same_command_or_the_one_that_it_names(
    point: str, after: int, ground: Any, kept_in: Any, tmp_path: Path
) -> None:
    door = ground("retry", tmp_path / "killed")
    killed = door("retry", "b1", DIE_AT=point, DIE_AFTER=str(after))
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    again = door("retry", "b1")
    if again.returncode != 0:  # the batch itself had begun anew
        assert again.returncode == 2 and "remedy: quantctl resume b1" in again.stderr, again.stderr
        assert door("resume", "b1").returncode == 0
    assert fan.state_of(door) == "SUCCESS"
    days = [f"2023020{day}" for day in range(1, 5)]
    assert [suffix for suffix, _ in fan.booked(door)] == days + days
    assert [state for _, state in fan.booked(door)] == ["FAILED"] * 2 + ["SKIPPED"] * 2 + ["SUCCESS"] * 4
    assert_sound(door)
    if kept_in is None:
        whole = ground("retry", tmp_path / "whole")
        assert whole("retry", "b1").returncode == 0
        assert fan.outcome(door) == fan.outcome(whole)
