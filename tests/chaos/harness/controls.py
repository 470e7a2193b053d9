"""Positive controls: wrong effects, built into a life. A harness that misses one proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Control -> where it is killed: after the wrong effect, before the engine knows of it.
CONTROLS = {
    "plain insert in a step": {"point": "compute.ended", "nth": 3},
    "append to a file": {"point": "compute.ended", "nth": 3},
    "booked outside the transaction": {"point": "transaction.committed", "nth": 5},
}


def spoil(name: str) -> None:
    """Build the wrong effect `name` into this process."""
    {
        "plain insert in a step": _insert_in_step,
        "append to a file": _append_to_file,
        "booked outside the transaction": _book_outside,
    }[name]()


def _around_compute(effect: Callable[[Any], None]) -> None:
    from quantctl.workflows import runner

    compute = runner.compute

    def careless(session: Any, *arguments: Any) -> Any:
        outcome = compute(session, *arguments)
        effect(session)
        return outcome

    runner.compute = careless


def _insert_in_step() -> None:
    """A step that inserts its record itself: once per execution, not once per stage."""
    from datetime import UTC, datetime

    from quantctl.lake import ledger

    def effect(session: Any) -> None:
        with session.runtime.engine.begin() as sql:
            head = ledger.head(sql, session.request.run_id)
            draft = ledger.Draft("event", "info", code="CARELESS", attempt=head.attempt)
            ledger.append(sql, head, [draft], datetime.now(UTC))

    _around_compute(effect)


def _append_to_file() -> None:
    """A step that appends to a file of the run."""

    def effect(session: Any) -> None:
        with (session.directory.root / "data" / "appended.txt").open("a") as stream:
            stream.write("once\n")

    _around_compute(effect)


def _book_outside() -> None:
    """A stage whose records are committed by themselves, and only then checkpointed by the engine."""
    from dbos import DBOS

    from quantctl.lake.fault_points import reach
    from quantctl.workflows import runner

    transaction = runner.Run._transaction

    def careless(run: Any, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        if not name.startswith("book "):
            return transaction(run, name, function, *arguments)

        def step() -> Any:
            with run.runtime.engine.begin() as sql:
                result = function(sql, *arguments)
            reach("transaction.committed")
            return result

        return DBOS.run_step({"name": name}, step)

    runner.Run._transaction = careless
