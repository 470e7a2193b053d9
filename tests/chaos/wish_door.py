"""The front door with the tiny pipeline, killed at a fault point or speaking another protocol.

As a script it is the command line (`python wish_door.py run ...`): `DIE_AT` names the point at which it
is killed, `DIE_AFTER` how often that is passed before (0), `SLEEP_AT` a point where it is stopped. `DIE_IN`
is a number of points: at the next one that the fulfilment of a wish passes it is killed, and tells its name.
`SPEAK` is the protocol, `HOLD` a file: while it is there the first stage does not end. As a module it starts
that script, and looks at what it left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tiny_door


class Door(tiny_door.Door):  # type: ignore[misc, name-defined]
    """Commands that may be told to die at a fault point."""

    def _command(self, words: tuple[str, ...]) -> list[str]:
        command = super()._command(words)
        return [command[0], str(Path(__file__)), *command[2:]]

    def copy(self, root: Path, env: dict[str, str] | None = None) -> Door:
        found = super().copy(root, env)
        return Door(found.data, found.env)

    def engine(self, workflow_id: str) -> str:
        """What the workflow engine says of a run."""
        from quantctl.lake import state

        with state.reader(self.state_url) as connection:
            query = "SELECT status FROM workflow_status WHERE workflow_uuid = ?"
            return connection.execute(query, (workflow_id,)).fetchone()[0]

    def asked(self) -> bool:
        """Whether any run has been asked to end before its next stage."""
        from quantctl.lake import state

        with state.reader(self.state_url) as connection:
            return connection.execute("SELECT 1 FROM cancellations").fetchone() is not None

    def wishes(self) -> list[str]:
        """States of what was asked of another process."""
        from quantctl.lake import state

        with state.reader(self.state_url) as connection:
            query = "SELECT status FROM workflow_status WHERE name = 'admin.v1'"
            return [row[0] for row in connection.execute(query).fetchall()]

    @contextmanager
    def worker(self, **env: str) -> Iterator[subprocess.Popen[str]]:
        """A worker that serves; at the end it is told to leave, if it lives."""
        process = self.start("worker", **env)
        try:
            assert process.stdout is not None
            assert "serves" in process.stdout.readline()
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def run_words(run_id: str = "k1", *more: str) -> tuple[str, ...]:
    """The command that runs the tiny pipeline."""
    return tiny_door.run_words(run_id, *more)


def stages(records: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    """(stage, status, attempt) of the records of stages."""
    return [(r["step"], r["status"], r["attempt"]) for r in records if r["type"] == "stage"]


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def each_record_once(records: list[dict[str, Any]]) -> None:
    """Assert that no record is lost or there twice."""
    counts = Counter(record["body_hash"] for record in records)
    assert [record["seq"] for record in records] == list(range(len(records)))
    assert set(counts.values()) == {1}


def arm() -> None:
    """Kill this process at the point that the environment names, and only there."""
    from quantctl.lake import fault_points

    wanted, left = os.environ.get("DIE_AT"), int(os.environ.get("DIE_AFTER", "0"))
    number = signal.SIGKILL if wanted else signal.SIGSTOP
    wanted = wanted or os.environ.get("SLEEP_AT")

    def reached(name: str) -> None:
        nonlocal left
        if name == wanted:
            if left == 0:
                # To this very thread: another one would let it go on for a moment.
                signal.pthread_kill(threading.get_ident(), number)
            left -= 1

    if wanted is not None:
        assert wanted in fault_points.POINTS
        fault_points.arm(reached)
    if "DIE_IN" in os.environ:
        fault_points.arm(InsideAWish(int(os.environ["DIE_IN"])))


class InsideAWish:
    """Kills this process at the n-th point, from 0, that the fulfilment of its first wish passes."""

    def __init__(self, nth: int) -> None:
        self.left, self.thread = nth, 0

    def __call__(self, name: str) -> None:
        """A point is reached, in whichever thread."""
        if name == "wish.taken" and not self.thread:
            self.thread = threading.get_ident()
        if self.thread != threading.get_ident():
            return
        if self.left == 0:
            print(f"killed at {name}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1 if name != "wish.fulfilled" else self.left + 1  # what follows is no part of it


def hold(path: Path) -> None:
    """Let the first stage of the tiny pipeline last while the file is there."""

    def sleep(_: float) -> None:
        while path.exists():
            time.sleep(0.02)

    sys.modules["tiny_pipeline"].time = SimpleNamespace(sleep=sleep)  # type: ignore[attr-defined]


def speak(protocol: str) -> None:
    """Let this process follow another workflow protocol."""
    from quantctl.contracts.records.run import PROTOCOL

    for module in [m for name, m in sys.modules.items() if name.startswith("quantctl")]:
        if getattr(module, "PROTOCOL", None) == PROTOCOL:
            module.PROTOCOL = protocol


if __name__ == "__main__":
    if "SPEAK" in os.environ:
        speak(os.environ["SPEAK"])
    from quantctl.cli import run

    tiny_door.load_tiny()
    if "HOLD" in os.environ:
        hold(Path(os.environ["HOLD"]))
    arm()
    run()
