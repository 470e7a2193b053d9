"""Cancel, retry and resume over a Postgres that several workers share: killed inside a wish, and at once.

Whoever fulfils a wish is killed at a point that it passes. Another worker, the asking command or the same
command again ends what was begun, and the wish is done once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import postgres_door
import pytest
import wish_door
from harness.sampling import sampled

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
SHORT = ("--set", "sleeve.direction=SHORT")  # the second stage refuses it
WORDS = {
    "cancel": ("cancel", "k1", "--reason", "no"), "retry": ("retry", "k1"), "resume": ("resume", "k1"),
    "again": ("retry", "k1", "--from-stage", "tiny.double"),
}  # fmt: skip
ENDS = {"cancel": (0, "CANCELLED"), "retry": (3, "FAILED"), "again": (3, "FAILED"), "resume": (0, "SUCCESS")}

Door, Scene, bury, queue = postgres_door.Door, postgres_door.Scene, postgres_door.bury, postgres_door.queue
run_words, wait_for = wish_door.run_words, wish_door.wait_for


@pytest.fixture(scope="module")
def scenes(postgres_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Scene]:
    """`cancel`: cut off in its first stage, `k0` and `kb` queued; `retry`: failed; `resume`: not begun."""
    lake = wish_door.tiny_door.prepared(tmp_path_factory.mktemp("lake"))
    known: dict[str, Scene] = {}

    def scene(what: str) -> Scene:
        name = "retry" if what == "again" else what
        if name not in known:
            root = tmp_path_factory.mktemp(name)
            lake.copy(root)
            door = Door(root / "data", postgres_server.database())
            SCENES[name](door)
            known[name] = Scene(door, postgres_server)
        return known[name]

    return scene


def cut_off(door: Door) -> None:
    door.lease = 3600  # it is dead from when a trial says so
    door.killed_in("tiny.double", *run_words())
    for run_id in ("k0", "kb"):
        assert door(*run_words(run_id, "--no-wait")).returncode == 0


def failed(door: Door) -> None:
    assert door(*SHORT, *run_words()).returncode == 3


def not_begun(door: Door) -> None:
    assert door(*run_words("k1", "--no-wait")).returncode == 0
    queue(door, "nowhere")


SCENES = {"cancel": cut_off, "retry": failed, "resume": not_begun}


@pytest.fixture(scope="module")
def wanted(scenes: Callable[[str], Scene], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """What an undisturbed wish leaves."""
    known: dict[str, Any] = {}

    def of(what: str) -> Any:
        if what not in known:
            door = scenes(what).trial(tmp_path_factory.mktemp(f"undisturbed-{what}"))
            bury(door)
            queue(door, "quantctl")
            assert door(*WORDS[what]).returncode == ENDS[what][0]
            door.sound()
            known[what] = door.result()
        return known[what]

    return of


@pytest.fixture
def stage(scenes: Callable[[str], Scene], tmp_path: Path) -> Iterator[Callable[[str], Door]]:
    """Makes a trial of a scene; its workers end with the test."""
    doors: list[Door] = []

    def make(what: str) -> Door:
        root = tmp_path / f"trial-{len(doors)}"
        root.mkdir()
        doors.append(scenes(what).trial(root))
        return doors[-1]

    yield make
    for door in doors:
        door.dismiss()


def stopped(door: Door, what: str, held: Path) -> subprocess.Popen[str]:
    """A worker that sleeps while another one takes the wish; on waking it is alive, its lease is long."""
    worker = door.hire(lease=3600, HOLD=str(held))
    if what == "cancel":
        door.wait_inside("tiny.double", "k0")
    os.kill(worker.pid, signal.SIGSTOP)
    return worker


def at_work(door: Door, what: str, held: Path, run_id: str, **env: str) -> subprocess.Popen[str]:
    """A worker that will take the wish, its run as the wish is to find it; busy with `run_id` it waits."""
    if what == "cancel":
        worker = door.hire(HOLD=str(held), **env)
        door.wait_inside("tiny.double", run_id)
        bury(door)
        wait_for(lambda: door.engine("k1") == "ENQUEUED")
        return worker
    worker = door.hire(**env)
    if what == "resume":
        os.kill(worker.pid, signal.SIGSTOP)
        put_down(door)
        os.kill(worker.pid, signal.SIGCONT)
    return worker


def put_down(door: Door) -> None:
    """Let `k1` meet a fault, memory that is short in the second stage: it waits for a resume.

    Whoever serves sleeps meanwhile, for it would take the run out of the queue.
    """
    queue(door, "quantctl")
    assert door(*run_words("k1", "--embedded"), TINY_GREEDY="1").returncode == 5
    found = door.rows("SELECT executor_id FROM workflow_status WHERE workflow_uuid = 'k1'")
    assert found == [("put-down:run-k1",)]


def trial(door: Door, what: str, who: str, held: Path, **env: str) -> str | None:
    """A wish whose worker is killed where `env` says, ended by `who`; the point, null where it lived.

    who : `another` worker, the asking `command` once the lease is over, or the command `again`
    """
    other = stopped(door, what, held) if who == "another" else None
    worker = at_work(door, what, held, "k0" if other is None else "kb", **env)
    asking = door.start(*WORDS[what], "--json")
    wait_for(lambda: worker.poll() is not None or "SUCCESS" in door.wishes())
    if worker.poll() is None:
        return None
    assert worker.poll() == -signal.SIGKILL
    if other is not None:
        os.kill(other.pid, signal.SIGCONT)
    if who == "again":
        asking.kill()
        asking.communicate()
        repeated(door, what)
    else:
        out, err = asking.communicate(timeout=120)
        ended(door, what, asking.returncode, out, err)
    assert worker.stdout is not None
    return env.get("DIE_AT") or worker.stdout.read().rpartition("killed at ")[2].strip()


def ended(door: Door, what: str, exit_code: int, out: str, err: str) -> None:
    """Assert that the command told how the run came to its end."""
    code, state = ENDS[what]
    assert exit_code == code, out + err
    told = json.loads(out)
    assert told["error"]["code"] == "ISOLATION_INPUT_MISSING" if code else told["data"]["state"] == state
    assert door.engine("k1") == {"FAILED": "ERROR"}.get(state, state)


def repeated(door: Door, what: str) -> None:
    """Give the same command again: it ends what was begun, or says truly that it is behind."""
    done = door(*WORDS[what], "--json")
    if done.returncode == 2:
        error = json.loads(done.stdout)["error"]
        if what == "cancel":  # nothing is left to do
            assert error["code"] == "RUN_FINISHED", done.stderr
            return
        assert (error["code"], error["remedy"]) == ("RUN_NOT_FAILED", "quantctl resume k1"), done.stderr
        done = door("resume", "k1", "--json")
    ended(door, what, done.returncode, done.stdout, done.stderr)


def assert_wished_once(door: Door, what: str, who: str, wanted: Callable[[str], Any]) -> None:
    """The same bytes and records as when nothing had happened, and nothing that would be done later."""
    door.sound()
    assert door.result() == wanted(what)
    if who == "again":  # what the dead worker left of the first wish comes to nothing
        door.hire()
        wait_for(lambda: not {"PENDING", "ENQUEUED"} & set(door.wishes()))
        assert door.result() == wanted(what)
    assert door.reopened() == (what in ("retry", "again"))


@pytest.mark.parametrize(
    ("what", "who", "point"),
    sampled([
        *((what, who, "every") for what in WORDS for who in ("another", "command", "again")),
        ("cancel", "command", "cancel.given_up"), ("retry", "another", "retry.aside"),
        ("resume", "another", "wish.fulfilled"), ("cancel", "again", "cancel.closed"),
        ("retry", "again", "retry.rewound"),
    ], [("retry", "another", "retry.aside")]),
)  # fmt: skip
def test_a_wish_whose_worker_is_killed_is_done_once(
    stage: Callable[[str], Door],
    wanted: Callable[[str], Any],
    tmp_path: Path,
    what: str,
    who: str,
    point: str,
) -> None:
    killed = []
    while True:
        held = tmp_path / f"held-{len(killed)}"
        held.touch()
        door = stage(what)
        env = {"DIE_IN": str(len(killed))} if point == "every" else {"DIE_AT": point}
        found = trial(door, what, who, held, **env)
        if found is None:
            break
        assert_wished_once(door, what, who, wanted)
        killed.append(found)
        door.dismiss()
        if point != "every":
            break
    assert killed[-1] == "wish.fulfilled" if point == "every" else killed == [point]
    print(f"{what}, ended by {who}: killed at {', '.join(killed)}")


@pytest.mark.parametrize("what", sampled(["cancel", "retry", "resume", "again"], []))
def test_of_two_wishes_at_once_under_two_workers_one_takes_effect(
    stage: Callable[[str], Door], wanted: Callable[[str], Any], tmp_path: Path, what: str
) -> None:
    """Both wishes lie in the queue before either worker may take one."""
    door, held = stage(what), tmp_path / "held"
    held.touch()
    door.lease = 3600
    workers = [door.hire(HOLD=str(held)) for _ in range(2)]
    if what == "cancel":
        for run_id in ("k0", "kb"):
            door.wait_inside("tiny.double", run_id)
        bury(door)
        wait_for(lambda: door.engine("k1") == "ENQUEUED")
    for worker in workers:
        os.kill(worker.pid, signal.SIGSTOP)
    if what == "resume":
        put_down(door)
    asking = [door.start(*WORDS[what], "--json") for _ in range(2)]
    wait_for(lambda: door.wishes() == ["ENQUEUED"] * 2)
    for worker in workers:
        os.kill(worker.pid, signal.SIGCONT)
    wait_for(lambda: door.wishes() == ["SUCCESS"] * 2)
    held.unlink()
    for process in asking:
        out, err = process.communicate(timeout=120)
        ended(door, what, process.returncode, out, err)
    assert_wished_once(door, what, "both", wanted)
    assert [worker.poll() for worker in workers] == [None, None]


def test_a_cancelled_run_that_was_not_shown_is_shown_by_the_next_cancel(stage: Callable[[str], Door]) -> None:
    door = stage("resume")
    queue(door, "quantctl")
    assert door(*WORDS["cancel"], DIE_AT="cancel.closed").returncode == -signal.SIGKILL
    postgres_door.bury(door, "run-cancel-k1")
    done = door(*WORDS["cancel"], "--json")
    ended(door, "cancel", done.returncode, done.stdout, done.stderr)
    door.sound()


@pytest.mark.exhaustive
def test_a_wish_that_a_dead_worker_began_does_not_wait_for_the_run_of_another_command(
    stage: Callable[[str], Door], wanted: Callable[[str], Any], tmp_path: Path
) -> None:
    """The worker of a command adopts its own run only, and is alive all the while."""
    door, held = stage("cancel"), tmp_path / "held"
    held.touch()
    worker = at_work(door, "cancel", held, "k0", DIE_AT="wish.taken")
    asking = door.start(*WORDS["cancel"], "--json")
    assert worker.wait(60) == -signal.SIGKILL
    door.hired.append(door.start(*run_words("k9", "--embedded"), HOLD=str(held)))
    door.wait_inside("tiny.double", "kb")  # it comes first in the queue
    out, err = asking.communicate(timeout=60)
    ended(door, "cancel", asking.returncode, out, err)
    assert door.engine("kb") == "PENDING"
    assert_wished_once(door, "cancel", "command", wanted)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("what", "point"), [("retry", "retry.aside"), ("again", "attempt.moving")])
def test_a_worker_that_sleeps_inside_a_retry_does_not_retry_again_when_it_wakes(
    stage: Callable[[str], Door], wanted: Callable[[str], Any], tmp_path: Path, what: str, point: str
) -> None:
    door = stage(what)
    other = stopped(door, what, tmp_path / "none")
    sleeper = door.hire(SLEEP_AT=point)
    asking = door.start(*WORDS[what], "--json")
    stat = Path(f"/proc/{sleeper.pid}/stat")
    wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
    os.kill(other.pid, signal.SIGCONT)
    out, err = asking.communicate(timeout=120)
    ended(door, what, asking.returncode, out, err)
    assert door.wishes() == ["SUCCESS"]
    before = door.files("k1")
    os.kill(other.pid, signal.SIGSTOP)  # so that the sleeper, awake, takes the next run
    os.kill(sleeper.pid, signal.SIGCONT)
    assert door(*SHORT, *run_words("k2")).returncode == 3
    assert door.files("k1") == before
    assert_wished_once(door, what, "another", wanted)
