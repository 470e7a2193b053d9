"""Worker processes of the tiny pipeline that share a Postgres, to be killed, stopped and woken by tests.

As a script it is one worker (`python workshop.py ROOT SETTINGS`); as a module it starts that script, hands
it runs, and looks at what became of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import drive
from timed import TIMED

HERE = Path(__file__)
LEASE = 2.0


class Hand:
    """A worker process and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str], told: Path) -> None:
        self.process = process
        self._told = told

    @property
    def told(self) -> str:
        """Everything it printed."""
        return self._told.read_text()

    @property
    def broke(self) -> bool:
        """Whether it ended by itself, and not well."""
        return (self.process.poll() or 0) > 0

    @property
    def name(self) -> str:
        """Its id, once it serves."""
        return wait_for(
            lambda: self.told.partition(" serves")[0] if " serves" in self.told else "", "a worker"
        )

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait_stopped(self, seconds: float = 60) -> None:
        """Wait until it sleeps by SIGSTOP."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "a stopped worker", seconds)

    def end(self) -> int:
        """Let it drain and leave; returns its exit code."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        return self.process.wait(60)


class Workshop:
    """Workers over one data directory and one database."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self.hands: list[Hand] = []

    def hire(self, *, env: dict[str, str] | None = None, **settings: Any) -> Hand:
        """Start a worker. lease, parallel, max_runs; stop_at, nth: where it stops itself by SIGSTOP."""
        told = self.root / f"worker-{len(self.hands)}.txt"
        with told.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, str(HERE), str(self.root), json.dumps(settings)], text=True, stdout=out,
                stderr=subprocess.STDOUT, env=os.environ | {"TV_STATE_URL": self.url} | (env or {}),
            )  # fmt: skip
        hand = Hand(process, told)
        self.hands.append(hand)
        return hand

    def close(self) -> None:
        """Kill whoever is left."""
        for hand in self.hands:
            if hand.process.poll() is None:
                hand.process.kill()
            hand.process.wait(30)

    @property
    def places(self) -> Any:
        """Where everything is."""
        from quantctl.workflows.runtime import Places

        root = self.root
        return Places(root, root / "lakehouse", root / "artifacts", root / "export", self.url)

    def submit(self, run_ids: Sequence[str]) -> None:
        """Queue runs, in this order."""
        from quantctl.workflows.submitting import submit
        from quantctl.workflows.worker import Limits

        for run_id in run_ids:
            submit(self.places, drive.request(run_id), Limits(), threading.Event())

    def status(self, run_id: str) -> Any:
        """Status of a run, as any reader sees it."""
        from quantctl.workflows import runs

        return runs.status(self.places, run_id)

    def wait_finished(self, run_ids: Sequence[str], seconds: float = 120) -> None:
        """Wait until each of these runs is closed and its worker is done with it."""
        wait_for(lambda: self._succeeded(run_ids), "the runs", seconds)
        wait_for(lambda: all(self._rests(run_id) for run_id in run_ids), "the last projections", seconds)

    def _succeeded(self, run_ids: Sequence[str]) -> bool:
        broken = [hand.told for hand in self.hands if hand.broke]
        assert not broken, broken[0]
        return all(self.status(run_id).state == "SUCCESS" for run_id in run_ids)

    def _rests(self, run_id: str) -> bool:
        head = self.directory(run_id) / "audit_head.json"
        return head.exists() and bool(json.loads(head.read_bytes())["closed"])

    def wait_inside(self, stage: str, run_id: str) -> None:
        """Wait until `stage` of a run is opened."""
        opened = (stage, "intent")
        wait_for(
            lambda: opened in [(r["step"], r["status"]) for r in self.records(run_id)], f"{stage} of {run_id}"
        )

    def directory(self, run_id: str) -> Path:
        """Directory of a run."""
        return self.root / "artifacts" / "summaries" / "runs" / run_id

    def records(self, run_id: str) -> list[dict[str, Any]]:
        """The ledger of a run."""
        from quantctl.lake import ledger, state

        with state.reader(self.url) as connection:
            assert connection is not None
            return list(ledger.records(connection, run_id))

    def rows(self, query: str) -> list[Any]:
        """Rows of the state database."""
        from quantctl.lake import state

        with state.reader(self.url) as connection:
            assert connection is not None
            return connection.execute(query).fetchall()

    def result(self, run_id: str) -> tuple[dict[str, bytes], list[str]]:
        """What equal runs have in common: artifacts, bodies of records. One chain, projected whole."""
        records = self.records(run_id)
        assert [record["seq"] for record in records] == list(range(len(records)))
        assert all(later["prev_hash"] == record["hash"] for record, later in pairwise(records))
        root = self.directory(run_id)
        lines = (root / "audit.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == records
        files = {
            path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()
        }
        kept = {
            n: path.read_bytes() for n, path in files.items() if n not in TIMED and not n.startswith("logs/")
        }
        return kept, [record["body_hash"] for record in records]


def wait_for(what: Any, name: str, seconds: float = 60) -> Any:
    """The first true answer of `what`."""
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {name}"
        time.sleep(0.1)


def stop_at(point: str, nth: int) -> None:
    """Let this process stop itself when it reaches a fault point for the n-th time."""
    from quantctl.lake.fault_points import arm

    seen = 0

    def reached(name: str) -> None:
        nonlocal seen
        seen += name == point
        if name == point and seen == nth:
            # To this very thread: another one would let it go on for a moment.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    arm(reached)


def main(root: str, settings: str) -> int:
    """Serve as one worker until SIGTERM."""
    from quantctl.signals import stop_on_signal
    from quantctl.workflows.serving import serve
    from quantctl.workflows.worker import Limits

    given = json.loads(settings)
    drive.load_tiny()
    if "stop_at" in given:
        stop_at(given["stop_at"], given["nth"])
    limits = Limits(
        min_free_mb=1, grace_seconds=20, parallel=given.get("parallel", 1),
        lease_seconds=given.get("lease", LEASE), max_runs=given.get("max_runs"),
    )  # fmt: skip
    places = drive.places(Path(root))
    served = serve(places, limits, stop_on_signal(), announce=lambda text: print(text, flush=True))
    return 0 if served else 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
