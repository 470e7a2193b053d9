"""Several workers on one Postgres: killed, stopped and woken; no run is lost, no stage is booked twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import workshop
from harness.sampling import sampled

from quantctl.checks_of_runs import workers

pytestmark = pytest.mark.chaos


RUNS = [f"r{number:02}" for number in range(12)]
STAGES = ("tiny.double", "tiny.total")
SLOWLY = {"TINY_SLOW": "0.3"}


@pytest.fixture
def shop(postgres_url: str, tmp_path: Path) -> Iterator[Any]:
    found = workshop.Workshop(tmp_path, postgres_url)
    yield found
    found.close()


@pytest.fixture(scope="module")
def undisturbed(postgres_server: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each run comes to when one worker executes them all in peace."""
    shop = workshop.Workshop(tmp_path_factory.mktemp("undisturbed"), postgres_server.database())
    try:
        shop.hire(lease=60)
        shop.submit(RUNS)
        shop.wait_finished(RUNS)
        return {run_id: shop.result(run_id) for run_id in RUNS}
    finally:
        shop.close()


def assert_each_stage_is_booked_once(shop: Any, run_id: str) -> None:
    types = Counter(record["type"] for record in shop.records(run_id))
    assert (types["genesis"], types["closed"]) == (1, 1)
    booked = Counter((r["step"], r["status"]) for r in shop.records(run_id) if r["type"] == "stage")
    assert booked == {(stage, status): 1 for stage in STAGES for status in ("intent", "success")}


Result = tuple[dict[str, bytes], list[str]]


def differences(found: Result, wanted: Result) -> list[str]:
    """Names of the files that differ, and "bodies" where the records do."""
    names = sorted(set(found[0]) | set(wanted[0]))
    files = [name for name in names if found[0].get(name) != wanted[0].get(name)]
    return files + ["bodies"] * (found[1] != wanted[1])


@pytest.mark.slow
@pytest.mark.parametrize(("count", "seed"), sampled([(2, 1), (4, 2)], [(2, 1)]))
def test_no_run_is_lost_and_no_stage_booked_twice_when_workers_are_killed_at_random(
    shop: Any, undisturbed: Any, count: int, seed: int
) -> None:
    chance, kills = random.Random(seed), 0
    live = [shop.hire(env=SLOWLY) for _ in range(count)]
    shop.submit(RUNS)
    while not all(shop.status(run_id).state == "SUCCESS" for run_id in RUNS):
        time.sleep(chance.uniform(0.5, 3.5))
        victim = chance.randrange(count)
        live[victim].signal(signal.SIGKILL)
        live[victim] = shop.hire(env=SLOWLY)
        kills += 1
        assert kills < 200
    shop.wait_finished(RUNS)
    for run_id in RUNS:
        assert differences(shop.result(run_id), undisturbed[run_id]) == []
        assert_each_stage_is_booked_once(shop, run_id)
    lives = shop.rows("SELECT count(*), count(DISTINCT worker) FROM run_lives")[0]
    print(f"{count} workers: {kills} kills, {len(RUNS)} runs, {lives[0]} lives, {lives[1]} workers at work")


def test_a_worker_killed_while_it_writes_leaves_nothing_though_nobody_waits_for_its_end(
    shop: Any, undisturbed: Any
) -> None:
    """Without an init process a killed worker stays a zombie; its half-written file goes all the same."""
    victim = shop.hire(stop_at="write.synced", nth=3)
    shop.submit(["r00"])
    victim.wait_stopped()
    assert any("/.tmp-" in f"/{name}" for name in files_of(shop, "r00"))
    victim.signal(signal.SIGKILL)
    shop.hire()
    workshop.wait_for(lambda: shop.status("r00").state == "SUCCESS", "the other worker")
    assert Path(f"/proc/{victim.process.pid}").exists(), "somebody waited for it"
    shop.wait_finished(["r00"])
    assert differences(shop.result("r00"), undisturbed["r00"]) == []


def files_of(shop: Any, run_id: str) -> list[str]:
    """Relative paths of the files of a run."""
    root = shop.directory(run_id)
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "nth"),
    sampled([
        ("life.begun", 1), ("compute.begin", 1), ("write.synced", 3), ("compute.ended", 2),
        ("transaction.begin", 2), ("transaction.filled", 3), ("transaction.committed", 3),
        ("append.cut", 2), ("life.ended", 1), ("projection.parts", 1),
    ], [("transaction.filled", 3), ("projection.parts", 1)]),
)  # fmt: skip
def test_a_worker_that_wakes_after_its_lease_changes_nothing(
    shop: Any, undisturbed: Any, point: str, nth: int
) -> None:
    """Stopped wherever it acts upon a run, inside a transaction too; meanwhile another one finishes."""
    sleeper = shop.hire(stop_at=point, nth=nth)
    shop.submit(["r00"])
    sleeper.wait_stopped()
    other = shop.hire()
    shop.wait_finished(["r00"])
    finished = shop.result("r00")
    trace = (shop.directory("r00") / "forensic_trace.json").read_bytes()
    sleeper.signal(signal.SIGCONT)
    assert other.end() == 0
    shop.submit(["r01"])  # the sleeper is a worker like any other again
    shop.wait_finished(["r01"])
    assert shop.status("r01").worker is None
    assert sleeper.end() == 0, sleeper.told
    assert differences(shop.result("r00"), finished) == differences(finished, undisturbed["r00"]) == []
    assert (shop.directory("r00") / "forensic_trace.json").read_bytes() == trace
    assert_each_stage_is_booked_once(shop, "r00")
    at_work = [row[0] for row in shop.rows("SELECT worker FROM run_lives WHERE run_id = 'r00' ORDER BY life")]
    assert at_work == [sleeper.name, other.name]
    ends = [row[0] for row in shop.rows("SELECT reason FROM run_lives WHERE run_id = 'r00' ORDER BY life")]
    assert ends == ["finished" if point in ("life.ended", "projection.parts") else "KILLED", "finished"]


@pytest.mark.slow
def test_no_more_runs_execute_than_the_limit_over_all_workers_allows(shop: Any) -> None:
    for _ in range(4):
        shop.hire(lease=60, parallel=2, max_runs=3, env=SLOWLY)
    most, here, over = 0, 0, threading.Event()

    def look() -> None:
        nonlocal most, here
        while not over.wait(0.03):
            rows = shop.rows("SELECT executor_id, count(*) FROM workflow_status"
                             " WHERE status = 'PENDING' AND queue_name = 'quantctl' GROUP BY 1")  # fmt: skip
            most = max(most, sum(row[1] for row in rows))
            here = max([here, *(row[1] for row in rows)])

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        shop.submit(RUNS)
        shop.wait_finished(RUNS)
    finally:
        over.set()
        watcher.join()
    assert most == 3
    assert here <= 2


def test_what_a_leaving_worker_had_begun_is_adopted_at_once_not_after_its_lease(shop: Any) -> None:
    leaving = shop.hire(lease=3600, env={"TINY_SLOW": "3"})
    shop.submit(["r00"])
    shop.wait_inside("tiny.double", "r00")
    assert shop.status("r00").worker == leaving.name
    leaving.signal(signal.SIGTERM)  # the stage may finish, no other one begins
    other = shop.hire(lease=3600)
    assert other.name != leaving.name
    assert leaving.process.wait(60) == 0
    shop.wait_finished(["r00"])
    assert f"adopts r00 at {STAGES[0]}" in other.told
    assert_each_stage_is_booked_once(shop, "r00")


def test_a_run_of_a_dead_worker_is_interrupted_and_says_so(shop: Any) -> None:
    hand = shop.hire(lease=1, env={"TINY_SLOW": "30"})
    shop.submit(["r00", "r01"])
    shop.wait_inside("tiny.double", "r00")
    assert (shop.status("r00").state, shop.status("r00").worker) == ("RUNNING", hand.name)
    assert (shop.status("r01").state, shop.status("r01").worker) == ("QUEUED", None)
    hand.signal(signal.SIGKILL)
    workshop.wait_for(lambda: not shop.places.live_workers(), "the end of the lease")
    found = shop.status("r00")
    assert (found.state, found.worker, found.exit_code) == ("INTERRUPTED", None, 5)


def test_a_following_command_takes_over_when_its_worker_is_killed(shop: Any, undisturbed: Any) -> None:
    hand = shop.hire(env={"TINY_SLOW": "60"})
    name = hand.name
    follower = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("drive.py")), str(shop.root), "run", "r00"], text=True,
        env=os.environ | {"TV_STATE_URL": shop.url}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    shop.wait_inside("tiny.double", "r00")
    assert workers(shop.places).detail == f"{name} is alive"
    hand.signal(signal.SIGKILL)
    output, errors = follower.communicate(timeout=120)
    assert (follower.returncode, output) == (0, "SUCCESS\n"), errors
    lives = shop.rows("SELECT worker FROM run_lives WHERE run_id = 'r00' ORDER BY life")
    assert [row[0] for row in lives] == [name, "run-r00"]
    assert differences(shop.result("r00"), undisturbed["r00"]) == []
