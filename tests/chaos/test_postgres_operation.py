"""Schedules, notices and a server that crashes, with one and with two workers alive on one Postgres."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import front_door
import pytest
import tiny_door
import workshop
from harness.sampling import sampled
from operation_door import LEAD, SLEEVE, Door, dismiss, on_shift, until

from quantctl.contracts.errors import StateUnreachable
from quantctl.lake import schedules, state
from quantctl.workflows.scheduling import Firing

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

EVERY = 3  # seconds between two times


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_door.prepared(tmp_path_factory.mktemp("lake"))


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Run ids that a local webhook was told of, one for each delivery."""
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append(f"{body['run_id']} {body['state']}")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TEST_HOOK", f"http://127.0.0.1:{server.server_address[1]}/")
    yield got
    server.shutdown()
    server.server_close()


def assert_every_time_made_one_run(door: Door) -> None:
    """Each time of both schedules is decided, and its run is there once, with the id that follows from it."""
    times = door.rows("SELECT profile, fire, run_id, state FROM schedule_times ORDER BY profile, fire")
    fires: dict[str, list[str]] = {LEAD: [], SLEEVE: []}
    for profile, fire, run_id, became in times:
        assert became == "STARTED"
        assert run_id == schedules.run_id_of(profile, schedules.moment(fire))
        fires[profile].append(fire)
    moments = [schedules.moment(fire) for fire in fires[LEAD]]
    steps = {later - earlier for earlier, later in pairwise(moments)}
    assert steps == {timedelta(seconds=EVERY)}, "a time was left out"
    assert set(fires[SLEEVE]) <= set(fires[LEAD])
    workflows = door.rows("SELECT workflow_uuid FROM workflow_status WHERE name = 'alpha.v1'")
    assert sorted(row[0] for row in workflows) == sorted(row[2] for row in times)
    genesis = door.rows("SELECT run_id FROM run_ledger WHERE type = 'genesis'")
    assert sorted(row[0] for row in genesis) == sorted(row[2] for row in times)
    assert {row[0] for row in door.rows("SELECT state FROM runs")} == {"SUCCESS"}


def assert_each_follows_its_leader(door: Door) -> None:
    """No run of the sleeve was queued before the lead's run of the same time was closed."""
    closed = dict(door.rows("SELECT run_id, closed_at FROM runs"))
    began = door.rows(f"SELECT run_id, created_at FROM runs WHERE profile = '{SLEEVE}'")
    assert len(began) >= 2
    for run_id, created in began:
        assert created >= closed[run_id.replace(SLEEVE, LEAD)]


def assert_every_end_is_told(door: Door, heard: list[str]) -> dict[str, Counter[str]]:
    """Each end is booked once for each channel, and was heard there; returns how often."""
    runs = [row[0] for row in door.rows("SELECT run_id FROM runs")]
    booked = door.rows("SELECT run_id, channel, state FROM notices")
    assert sorted(booked) == sorted((run, way, "SENT") for run in runs for way in ("command", "webhook"))
    told = {"command": Counter(door.told.read_text().splitlines()), "webhook": Counter(heard)}
    for counts in told.values():
        assert set(counts) == {f"{run} SUCCESS" for run in runs}
    return told


@pytest.mark.parametrize(
    ("workers", "point"),
    sampled(
        [(count, point) for count in (1, 2)
         for point in ("", "schedule.noticed", "schedule.enqueued", "notice.taken", "notice.sent")],
        [(2, "schedule.enqueued")],
    ),
)  # fmt: skip
def test_every_time_starts_one_run_and_every_end_is_told(
    lake: Any, postgres_url: str, tmp_path: Path, heard: list[str], workers: int, point: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    copy = lake.copy(tmp_path, {"TV_STATE_URL": postgres_url})
    door = Door(copy.data, copy.env)
    door.declare(EVERY)
    for name, value in door.env.items():
        monkeypatch.setenv(name, value)
    here = front_door.FrontDoor(door.data)  # in this process: it needs no pipeline
    assert here("schedule", "apply").exit == 0
    fuse = {"FLAG_AT": point, "FLAG": str(tmp_path / "dead"), "FLAG_DIES": "1"} if point else {}
    with on_shift(door, workers, **fuse) as shift:
        until(lambda: shift.ends.total() == bool(point) and door.succeeded(SLEEVE) >= 2, shift)
        assert here("schedule", "remove", SLEEVE, LEAD).exit == 0
        until(door.settled, shift)
        shift.drain()
    assert_every_time_made_one_run(door)
    assert_each_follows_its_leader(door)
    told = assert_every_end_is_told(door, heard)
    again = [line for counts in told.values() for line, count in counts.items() if count > 1]
    assert len(again) == (point == "notice.sent")
    tries = Counter(row[0] for row in door.rows("SELECT tries FROM notices"))
    assert tries[2] == point.startswith("notice.")
    assert set(tries) <= {1, 2}


def test_applying_schedules_while_a_worker_notices_their_times_is_no_deadlock(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command has changed the second schedule and not the first; the worker takes them in order."""
    door = Door(tmp_path / "data", {"TV_STATE_URL": postgres_url})
    door.data.mkdir()
    door.declare(1)
    for name, value in door.env.items():
        monkeypatch.setenv(name, value)
    here = front_door.FrontDoor(door.data)
    assert here("schedule", "apply").exit == 0
    # Other times count for `sleeve` now; once it is changed, `lead` is, in the same transaction.
    (tmp_path / "profiles" / f"{SLEEVE}.yaml").write_text(
        'description: x\nextends: development\nschedule: {cron: "*/1 * * * * *"}\n'
    )
    runtime = SimpleNamespace(engine=state.open_engine(postgres_url))
    firing = Firing(SimpleNamespace(runtime=runtime), lambda *_: None)  # type: ignore[arg-type]
    monkeypatch.setattr(firing, "_settle", lambda: None)
    monkeypatch.setattr(firing, "_clock", lambda: datetime.now(UTC) + timedelta(seconds=5))
    with ThreadPoolExecutor(1) as pool:
        ticks = []
        put = schedules.put

        def slowly(sql: Any, schedule: Any) -> None:
            put(sql, schedule)
            if not ticks:
                ticks.append(pool.submit(firing.tick))
                time.sleep(0.3)
                put(sql, replace(schedules.read(sql)[LEAD], cron="*/2 * * * * *"))

        monkeypatch.setattr(schedules, "put", slowly)
        assert here("schedule", "apply", "--profile", SLEEVE).exit == 0
        ticks[0].result(timeout=30)
    assert not door.rows("SELECT 1 FROM schedule_times GROUP BY profile, fire HAVING count(*) > 1")
    runtime.engine.dispose()


# A server that crashes

RUNS = [f"r{number}" for number in range(5)]
STAGES = ("tiny.double", "tiny.total")


@pytest.fixture(scope="module")
def undisturbed(postgres_server: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each run comes to when one worker executes them all in peace."""
    shop = workshop.Workshop(tmp_path_factory.mktemp("undisturbed"), postgres_server.database())
    try:
        shop.hire(lease=60, parallel=3)
        shop.submit(RUNS)
        shop.wait_finished(RUNS)
        return {run_id: shop.result(run_id) for run_id in RUNS}
    finally:
        shop.close()


def states(shop: Any) -> Counter[str]:
    """How many runs are in which state; nothing while the server is away."""
    try:
        return Counter(shop.status(run_id).state for run_id in RUNS)
    except StateUnreachable:
        return Counter()


@pytest.mark.parametrize(
    ("moment", "away"),
    sampled([("transaction.filled", 0.0), ("compute.begin", 0.0), ("compute.begin", 4.0),
             ("life.ended", 0.0), ("engine.launched", 1.0)], [("compute.begin", 0.0)]),
)  # fmt: skip
def test_a_server_that_crashes_under_two_workers_costs_no_run_and_no_stage_is_booked_twice(
    undisturbed: Any, postgres_server: Any, tmp_path: Path, moment: str, away: float
) -> None:
    """It crashes when a worker reaches `moment` while several runs are in flight."""
    url = postgres_server.database()
    data = tmp_path / "data"
    data.mkdir()
    shop = workshop.Workshop(data, url)
    shop.submit(RUNS)
    door = Door(data, {"TV_STATE_URL": url, "TV_ORCHESTRATION__LEASE_SECONDS": "4", "TINY_SLOW": "0.5"})
    words = ("worker", "--concurrency", "2")
    alive = [door.start(*words, FLAG_AT=moment, FLAG=str(tmp_path / "there")) for _ in range(2)]
    ends: Counter[int] = Counter()
    try:
        workshop.wait_for(lambda: (tmp_path / "there").exists(), moment)
        postgres_server.stop("immediate")
        time.sleep(away)
        postgres_server.start()
        deadline = time.monotonic() + 120
        while states(shop)["SUCCESS"] < len(RUNS):
            assert time.monotonic() < deadline, states(shop)
            time.sleep(0.2)
            for place, process in enumerate(alive):
                if process.poll() is not None:  # as a supervisor does
                    told = process.communicate()[1]
                    assert process.returncode == 5, told
                    assert "error[STATE_UNREACHABLE] " in told
                    assert "Traceback" not in told
                    ends[process.returncode] += 1
                    alive[place] = door.start(*words)
        dismiss(alive)
    finally:
        for process in alive:
            if process.poll() is None:
                process.kill()
                process.communicate()
    for run_id in RUNS:
        assert shop.result(run_id) == undisturbed[run_id]
        booked = Counter((r["step"], r["status"]) for r in shop.records(run_id) if r["type"] == "stage")
        assert booked == {(stage, status): 1 for stage in STAGES for status in ("intent", "success")}
        types = Counter(record["type"] for record in shop.records(run_id))
        assert (types["genesis"], types["closed"]) == (1, 1)
    lives = shop.rows("SELECT count(*) FROM run_lives")[0][0]
    print(f"{moment}: {ends.total()} workers left with 5, {len(RUNS)} runs, {lives} lives")
