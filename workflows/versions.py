"""Runs of another workflow protocol: told apart, and adopted when that is asked and possible.

The protocol says which stages run in which order. A run carries that of the code that started it; a
worker of another one leaves it alone.
"""

from __future__ import annotations

from datetime import UTC, datetime

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.records.run import PROTOCOL, RunRequest
from quantctl.lake import ledger, state
from quantctl.lake.ledger import Draft
from quantctl.workflows import book, runs
from quantctl.workflows.registry import build
from quantctl.workflows.runtime import Places, Runtime


def version_of(places: Places, run_id: str) -> str | None:
    """The protocol that a run follows now; null where the engine does not know it."""
    with state.reader(places.state_url) as connection:
        if connection is None:
            return None
        row = connection.execute(
            "SELECT application_version FROM workflow_status WHERE workflow_uuid = ?", (run_id,)
        ).fetchone()
    return row["application_version"] if row else None


def check(places: Places, run_id: str) -> None:
    """Refuse a run of another protocol (`RUN_VERSION_MISMATCH`, exit 2)."""
    theirs = version_of(places, run_id)
    if theirs in (None, PROTOCOL):
        return
    raise ConfigError(
        "RUN_VERSION_MISMATCH",
        f"run {run_id} follows protocol {theirs}, this is {PROTOCOL}",
        where=run_id,
        remedy="resume it with the version that started it, or under this one:"
        f" quantctl resume {run_id} --adopt-version",
    )


def check_adoptable(request: RunRequest) -> None:
    """Refuse a run whose stages are not the first ones of this version (`RUN_VERSION_STAGES`, exit 2)."""
    ours = [stage.id for stage in build(request.pipeline).stages]
    for index, theirs in enumerate(request.stages):
        here = ours[index] if index < len(ours) else "none"
        if here != theirs:
            raise ConfigError(
                "RUN_VERSION_STAGES",
                f"stage {index + 1} of run {request.run_id} is {theirs}, in this version it is {here}",
                where=theirs,
                remedy="resume it with the version that started it, or start it again under a new id",
            )


def adopt(runtime: Runtime, run_id: str) -> bool:
    """Let a run go on under this protocol, and book that: one transaction, so it happens once.

    Returns whether it was of another protocol until now. Raises `RUN_VERSION_STAGES` where the stages differ.
    """
    from sqlalchemy import text

    request = runs.request_of(runtime.places, run_id)
    assert request is not None
    check_adoptable(request)
    with runtime.engine.begin() as sql:
        theirs = sql.execute(
            text("SELECT application_version FROM workflow_status WHERE workflow_uuid = :r"), {"r": run_id}
        ).scalar()
        if theirs in (None, PROTOCOL):
            return False
        sql.execute(
            text("UPDATE workflow_status SET application_version = :v WHERE workflow_uuid = :r"),
            {"v": PROTOCOL, "r": run_id},
        )
        book.genesis(sql, request)
        head = ledger.head(sql, run_id)
        assert head is not None
        facts = {"from": theirs, "to": PROTOCOL}
        adopted = Draft("event", "info", None, head.attempt, "VERSION_ADOPTED", data=facts)
        ledger.append(sql, head, [adopted], datetime.now(UTC))
    return True
