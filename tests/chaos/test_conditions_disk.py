"""A disk that fails at any write point of a run: exit 5, the code and the place, and the same bytes later."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import tiny_door
from harness.sampling import sampled

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
STRIDE, SEED = 51, 27
FAULTS = ((errno.ENOSPC, "DISK_FULL"), (errno.EIO, "DISK_IO"), (errno.EROFS, "DISK_READ_ONLY"))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_door.prepared(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def reference(lake: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, int]:
    """An undisturbed run, and how many write points it has."""
    root = tmp_path_factory.mktemp("reference")
    door = lake.copy(root)
    done = door(*tiny_door.run_words(), DOOR_FAIL_AT="0", DOOR_TALLY=str(root / "tally"))
    assert done.returncode == 0, done.stderr
    points = int((root / "tally").read_text())
    assert points > 50
    return door, points


def fail_and_go_on(door: Any, point: int, reference: Any) -> None:
    number, code = FAULTS[point % len(FAULTS)]
    stopped = door(*tiny_door.run_words(), "--json", DOOR_FAIL_AT=str(point), DOOR_ERRNO=str(number))
    if stopped.returncode == 0:  # only the SQL surface stayed behind, and it stops no run
        assert "could not be projected" in stopped.stderr, f"point {point}"
        ended(door, point, reference)
        return
    assert stopped.returncode == 5, f"point {point}: {stopped.stderr}"
    error = json.loads(stopped.stdout)["error"]
    assert (error["code"], error["run_id"]) == (code, "k1"), f"point {point}"
    assert "quantctl resume k1" in error["remedy"]
    where = error["message"] + str(error["artifact"])
    assert str(door.data) in where or "at " in where, f"point {point}: {where}"
    assert list(door.data.rglob(".tmp-*")) == [], f"point {point}"
    assert door("status", "k1", "--exit-code").returncode in (0, 5)  # 0: only projections were behind
    resumed = door("resume", "k1")
    assert resumed.returncode == 0, f"point {point}: {resumed.stderr}"
    ended(door, point, reference)


def ended(door: Any, point: int, reference: Any) -> None:
    assert door.result() == reference.result(), f"point {point}"
    assert door("ledger", "verify", "k1").returncode == 0, f"point {point}"
    assert door.trace()["complete"] is True
    seen = door("sql", "SELECT count(*) AS records FROM ledger WHERE run_id = 'k1'", "--json")
    assert json.loads(seen.stdout)["data"] == [{"records": len(door.records())}], f"point {point}"


@pytest.mark.parametrize("first", sampled(range(1, STRIDE + 1), [SEED]))
def test_a_disk_that_fails_from_a_write_point_on_leaves_a_run_that_can_go_on(
    lake: Any, reference: tuple[Any, int], tmp_path: Path, first: int
) -> None:
    undisturbed, points = reference
    for point in range(first, points + 1, STRIDE):
        fail_and_go_on(lake.copy(tmp_path / str(point)), point, undisturbed)


def test_a_disk_that_fails_for_hours_stops_every_attempt_the_same_way(
    lake: Any, reference: tuple[Any, int], tmp_path: Path
) -> None:
    door = lake.copy(tmp_path)
    full = {"DOOR_FAIL_AT": "30", "DOOR_ERRNO": str(errno.ENOSPC)}
    assert door(*tiny_door.run_words(), **full).returncode == 5
    for _ in range(2):
        again = door("resume", "k1", DOOR_FAIL_AT="1", DOOR_ERRNO=str(errno.ENOSPC))
        assert again.returncode == 5, again.stderr
    assert door("resume", "k1").returncode == 0
    assert door.result() == reference[0].result()
    reasons = [life["reason"] for life in door.trace()["lives"]]
    assert reasons == ["DISK_FULL", "DISK_FULL", "DISK_FULL", "finished"]
