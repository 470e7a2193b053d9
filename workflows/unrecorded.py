"""Run directories that the state database does not know: it was lost, replaced, or another one is used.

Nothing may begin in such a directory, for its ledger is of a run whose records are elsewhere, and nobody
may be told that there was never such a run.
"""

from __future__ import annotations

from quantctl.contracts.errors import DataMissing
from quantctl.lake import state
from quantctl.workflows.runtime import Places

LEDGER = "audit.jsonl"  # written after genesis is committed, so the database once knew the run


def refuse(places: Places, run_id: str) -> None:
    """Raise `RUN_UNRECORDED` (exit 3) for a run without record whose directory holds a ledger."""
    root = places.run_root(run_id)
    if (root / LEDGER).is_file():
        raise DataMissing(
            "RUN_UNRECORDED",
            f"run {run_id!r} has a directory with a ledger, but no record in the state database",
            where=str(root),
            remedy="restore the state database (quantctl doctor --state-url names it), move the directory"
            " away, or take another run id",
        )


def directories(places: Places) -> list[str]:
    """Ids of all run directories with a ledger that the state database does not know, sorted."""
    runs = places.artifacts_dir / "summaries" / "runs"
    found = {path.parent.name for path in runs.glob(f"*/{LEDGER}")}
    if not found:
        return []
    with state.reader(places.state_url) as connection:
        if connection is None:
            return sorted(found)
        return sorted(found - _known(connection))


def _known(connection: state.Reader) -> set[str]:
    """Runs of which both the ledger and the engine have a row; without the engine's tables, the ledger."""
    try:
        known = {row["run_id"] for row in connection.execute("SELECT run_id FROM runs")}
    except state.TablesMissing:
        return set()
    try:
        return known & {row[0] for row in connection.execute("SELECT workflow_uuid FROM workflow_status")}
    except state.TablesMissing:
        return known
