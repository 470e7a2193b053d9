"""The artifact index, read: which files a run has now, and what the ledger last said of each."""

from __future__ import annotations

from typing import Any

from quantctl.contracts.artifacts import Artifact
from quantctl.lake.state import Reader


def rows(connection: Reader | None, run_id: str) -> list[dict[str, Any]]:
    """The artifacts of a run with the step and attempt that wrote each, in the order of writing.

    Without a database there are none.
    """
    return _read(connection, run_id, "name, path, sha256, rows, bytes, step, attempt")


def artifacts(connection: Reader | None, run_id: str) -> list[Artifact]:
    """The artifacts of a run as references, in the order of writing."""
    columns = ", ".join(Artifact.model_fields)
    return [Artifact.model_validate(row) for row in _read(connection, run_id, columns)]


def _read(connection: Reader | None, run_id: str, columns: str) -> list[dict[str, Any]]:
    if connection is None:
        return []
    query = f"SELECT {columns} FROM artifact_index WHERE run_id = ? ORDER BY rowid"
    return [dict(row) for row in connection.execute(query, (run_id,))]
