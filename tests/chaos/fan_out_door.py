"""Batches of tiny children behind the front door, and what two equal batches have in common.

As a script it is the command line (`python fan_out_door.py batch ...`) in which something breaks inside one
run of many, `IN_RUN`: the disk is full from its write point `FAIL_AT` on, or the process is killed at the
point `DIE_AT` once that was passed `DIE_AFTER` times; without `IN_RUN`, wherever that is reached.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny_door

PROFILE = tiny_door.PROFILE
SHORT = "binance_spot_rating_all_short"


class Door(tiny_door.Door):
    """Commands in which something may break inside one run of many."""

    def _command(self, words: tuple[str, ...]) -> list[str]:
        command = super()._command(words)
        # A killed process counts as alive until its lease ends.
        quick = ("--set", "orchestration.lease_seconds=2") if "TV_STATE_URL" in self.env else ()
        return [command[0], str(Path(__file__)), *quick, *command[2:]]

    def copy(self, root: Path, env: dict[str, str] | None = None) -> Door:
        return Door(super().copy(root, env).data, env)

    def whole_copy(self, root: Path) -> Door:
        return Door(super().whole_copy(root).data, self.env)


def prepared(root: Path) -> Door:
    """A simulated lake of a few symbols."""
    return Door(tiny_door.prepared(root).data)


def batch_words(first: str = "2023-02-01", last: str = "2023-02-12", *more: str) -> tuple[str, ...]:
    """The command that runs the tiny pipeline once for every day of a range."""
    words = ("batch", "--profile", PROFILE, "--from", first, "--to", last, "--pipeline", "tiny.full")
    return (*words, "--run-id", "b1", *more)


def children(door: Door, parent: str = "b1") -> list[str]:
    """Ids of the runs whose directories bear the parent's id, in order."""
    return sorted(path.name for path in door.root(parent).parent.glob(f"{parent}-*"))


def outcome(door: Door, parent: str = "b1") -> dict[str, Any]:
    """What two equal batches have in common: bytes of artifacts and bodies of records, of every run."""
    return {run_id: door.result(run_id) for run_id in (parent, *children(door, parent))}


def booked(door: Door, parent: str = "b1") -> list[tuple[str, str]]:
    """(suffix, state) of every child event in the parent's chain; none before there is a state database."""
    from quantctl.lake import state

    try:
        records = door.records(parent)
    except state.TablesMissing:
        return []
    events = [record for record in records if record["type"] == "event"]
    return [(e["data"]["suffix"], e["data"]["state"]) for e in events if "suffix" in e["data"]]


def computed(door: Door, run_id: str) -> int:
    """How often a stage of a run was checkpointed as computed."""
    from quantctl.lake import state

    with state.reader(door.state_url) as connection:
        assert connection is not None
        rows = connection.execute(
            "SELECT count(*) FROM run_ledger WHERE run_id = ? AND type = 'stage' AND status = 'success'",
            (run_id,),
        ).fetchall()
    return int(rows[0][0])


def lives(door: Door) -> dict[str, int]:
    """Run -> how many process lives it had."""
    from quantctl.lake import state

    with state.reader(door.state_url) as connection:
        assert connection is not None
        rows = connection.execute("SELECT run_id, count(*) FROM run_lives GROUP BY run_id").fetchall()
    return {str(row[0]): int(row[1]) for row in rows}


def places_of(door: Door) -> Any:
    """Where everything of a door lies."""
    from quantctl.workflows.runtime import Places

    data = door.data
    return Places(data, data / "lakehouse", data / "artifacts", data / "export", door.state_url)


def artifact(door: Door, parent: str = "b1") -> Any:
    """`data/batch.json` of a batch."""
    return json.loads((door.root(parent) / "data" / "batch.json").read_bytes())


def state_of(door: Door, run_id: str = "b1") -> str:
    """Where a run stands; `none` before it is known."""
    from quantctl.workflows import runs

    found = runs.status(places_of(door), run_id)
    return found.state if found is not None else "none"


def assert_whole_trace(door: Door, parent: str = "b1") -> None:
    """The trace of a batch is one tree: each span of each child once, in the order of plan and start."""
    from quantctl.contracts.ids import span_id_of, trace_id_of

    trace = door.trace(parent)
    spans, known = trace["spans"], {span["span_id"]: span for span in trace["spans"]}
    assert len(known) == len(spans) and trace["complete"]
    assert {span["trace_id"] for span in spans} == {trace["trace_id"]} == {trace_id_of(parent)}
    roots = [span["span_id"] for span in spans if span["parent_span_id"] is None]
    assert roots == [span_id_of(parent, "run batch.full", 1)]
    assert all(span["parent_span_id"] in known for span in spans if span["parent_span_id"] is not None)
    merged = [span for span in spans if span["attributes"]["quant.run_id"] != parent]
    assert [_told(span) for span in merged] == [
        _told(span) for child in children(door, parent) for span in door.trace(child)["spans"]
    ]
    above = {"batch.children", "run batch.full"}
    assert {
        known[s["parent_span_id"]]["name"] for s in merged if "quant.trace_id" in s["attributes"]
    } <= above


def _told(span: dict[str, Any]) -> tuple[str, ...]:
    """What a span keeps in the trace of its batch."""
    kept = ("span_id", "name", "start_ns", "end_ns", "status", "process")
    return tuple(str(span[field]) for field in kept) + (span["attributes"]["quant.run_id"],)


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)


def end(door: Door, words: tuple[str, ...], seconds: float = 900.0) -> None:
    """Run a command that may take long to its end, which is a success."""
    process = door.start(*words)
    _, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, errors


class Broken:
    """What breaks in this process, as its environment says."""

    def __init__(self, asked: dict[str, str]) -> None:
        self._run, self._point = asked.get("IN_RUN"), asked.get("DIE_AT")
        self._fail_at, self._tally = int(asked.get("FAIL_AT", "0")), asked.get("TALLY")
        self._passed, self._after = 0, int(asked.get("DIE_AFTER", "0"))

    def __call__(self, point: str) -> None:
        from dbos import DBOS

        if self._run is not None and DBOS.workflow_id != self._run:
            return
        if point == self._point:
            self._passed += 1
            if self._passed > self._after:
                os.kill(os.getpid(), signal.SIGKILL)
        elif self._point is None and point.partition(".")[0] in tiny_door.WRITES:
            self._passed += 1
            if self._tally is not None:
                Path(self._tally).write_text(str(self._passed))
            if 0 < self._fail_at <= self._passed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"at {point}")


def arm(asked: dict[str, str]) -> None:
    """Break what is asked."""
    from quantctl.lake import fault_points

    if {"DIE_AT", "FAIL_AT"} & asked.keys():
        assert asked.get("DIE_AT", "write.begin") in fault_points.POINTS
        fault_points.arm(Broken(asked))


if __name__ == "__main__":
    from quantctl.cli import run

    tiny_door.load_tiny()
    arm(dict(os.environ))
    run()
