"""Batches of tiny children behind the front door, and what two equal batches have in common."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import tiny_door

Door, PROFILE, prepared = tiny_door.Door, tiny_door.PROFILE, tiny_door.prepared
SHORT = "binance_spot_rating_all_short"


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


def artifact(door: Door, parent: str = "b1") -> Any:
    """`data/batch.json` of a batch."""
    return json.loads((door.root(parent) / "data" / "batch.json").read_bytes())


def state_of(door: Door, run_id: str = "b1") -> str:
    """Where a run stands; `none` before it is known."""
    from quantctl.workflows import runs
    from quantctl.workflows.runtime import Places

    data = door.data
    places = Places(data, data / "lakehouse", data / "artifacts", data / "export", door.state_url)
    found = runs.status(places, run_id)
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
