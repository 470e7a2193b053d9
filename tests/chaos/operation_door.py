"""The front door with the tiny pipeline as `alpha.full`, so that schedules start it and its end is told.

As a script it is the command line; `FLAG_AT` names a point, at which the first process that gets there
makes the file `FLAG`, and is killed if `FLAG_DIES` is set. As a module it starts that script, and looks at
what it left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tiny_door

LEAD, SLEEVE = "lead", "sleeve"
TOLD = 'printf "%s %s\\n" "$QUANTCTL_RUN_ID" "$QUANTCTL_STATE" >> "{}"'


class Door(tiny_door.Door):  # type: ignore[misc, name-defined]
    """Commands over a data directory with profiles of its own."""

    def _command(self, words: tuple[str, ...]) -> list[str]:
        command = super()._command(words)
        return [command[0], str(Path(__file__)), *command[2:]]

    @property
    def told(self) -> Path:
        """The file to which the command of the notices writes."""
        return self.data.parent / "told.txt"

    def declare(self, seconds: int) -> None:
        """Profiles: one that fires every few seconds, one that follows it; both tell of every end."""
        import yaml

        shelf = self.data.parent / "profiles"
        shelf.mkdir()
        notify = {
            "command": ["/bin/sh", "-c", TOLD.format(self.told)], "webhook_url_env": "TEST_HOOK",
            "timeout_seconds": 1,
        }  # fmt: skip
        schedules = {LEAD: {"cron": f"*/{seconds} * * * * *"}, SLEEVE: {"after": LEAD}}
        for name, schedule in schedules.items():
            body = {"description": name, "extends": "development", "schedule": schedule, "notify": notify}
            (shelf / f"{name}.yaml").write_text(yaml.safe_dump(body))
        self.env |= {"TV_PROFILES_DIR": str(shelf), "TV_ORCHESTRATION__LEASE_SECONDS": "2"}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the state database."""
        from quantctl.lake import state

        with state.reader(self.state_url) as connection:
            assert connection is not None
            return [tuple(row) for row in connection.execute(query).fetchall()]

    def succeeded(self, profile: str) -> int:
        """How many runs of a profile have ended well."""
        query = f"SELECT count(*) FROM runs WHERE profile = '{profile}' AND state = 'SUCCESS'"
        return int(self.rows(query)[0][0])

    def settled(self) -> bool:
        """Whether no time is due, no run open and no notice unsent."""
        queries = (
            "SELECT 1 FROM schedule_times WHERE state = 'DUE'",
            "SELECT 1 FROM workflow_status WHERE status IN ('PENDING', 'ENQUEUED')",
            "SELECT 1 FROM notices WHERE state <> 'SENT'",
        )  # fmt: skip
        return not any(self.rows(query) for query in queries)


class Shift:
    """Workers, replaced when they die, as a supervisor does."""

    def __init__(self, door: Door, count: int, **env: str) -> None:
        self._door = door
        self._alive = [door.start("worker", **env) for _ in range(count)]
        self.ends: Counter[int] = Counter()

    def look(self) -> None:
        """Replace who is gone."""
        for place, process in enumerate(self._alive):
            if process.poll() is not None:
                self.ends[process.returncode] += 1
                told = process.communicate()[1]
                assert process.returncode == -signal.SIGKILL, told
                self._alive[place] = self._door.start("worker")

    def drain(self) -> None:
        """Tell all to leave, which they do well."""
        dismiss(self._alive)

    def close(self) -> None:
        """End who is left."""
        for process in self._alive:
            if process.poll() is None:
                process.kill()
            process.communicate()


def dismiss(workers: list[subprocess.Popen[str]]) -> None:
    """Tell workers to leave, once they serve, and see that they do well."""
    for process in workers:
        assert process.stdout is not None
        assert "serves" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
    for process in workers:
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told


@contextmanager
def on_shift(door: Door, count: int, **env: str) -> Iterator[Shift]:
    """Workers that serve for the time of a block."""
    shift = Shift(door, count, **env)
    try:
        yield shift
    finally:
        shift.close()


def until(met: Any, shift: Shift, seconds: float = 90.0) -> None:
    """Look after the workers until something is so."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "it did not come to that"
        shift.look()
        time.sleep(0.1)


def arm() -> None:
    """Flag the point of the environment when the first process reaches it, and kill that one if asked."""
    from quantctl.lake import fault_points

    wanted, flag = os.environ.get("FLAG_AT"), os.environ.get("FLAG", "")

    def reached(name: str) -> None:
        if name == wanted:
            try:
                os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            if "FLAG_DIES" in os.environ:
                os.kill(os.getpid(), signal.SIGKILL)

    if wanted is not None:
        assert wanted in fault_points.POINTS
        fault_points.arm(reached)


if __name__ == "__main__":
    from quantctl.cli import run
    from quantctl.workflows import pipelines

    tiny_door.load_tiny()
    pipelines.PIPELINES["alpha.full"] = pipelines.PIPELINES["tiny.full"]
    arm()
    run()
