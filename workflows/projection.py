"""Projecting a run onto the SQL surface: parts of its rows, then the catalogue of views."""

from __future__ import annotations

import logging

from quantctl.contracts.errors import QuantError
from quantctl.lake import catalog, ledger_parts, state
from quantctl.workflows.made_rows import made_rows
from quantctl.workflows.runtime import Places
from quantctl.workflows.sql_files import definitions

log = logging.getLogger("quantctl.projection")


def project_run(places: Places, run_id: str) -> None:
    """Bring the SQL surface of one run up to its last booked record.

    A projection that fails stops no run: it is logged, and `quantctl sql --rebuild` makes it anew.
    """
    try:
        _project_run(places, run_id)
    except Exception:
        log.exception("the SQL surface of run %s could not be projected", run_id)


def _project_run(places: Places, run_id: str) -> None:
    with state.reader(places.state_url) as connection:
        if connection is None:
            return
        rows = made_rows(places.run_root(run_id), run_id)
        ledger_parts.project_run(places.ledger_parts, connection, run_id, rows)
    rebuild_catalog(places)


def rebuild_all(places: Places) -> int:
    """Project every run of the state database anew; returns their number."""
    with state.reader(places.state_url) as connection:
        if connection is None:
            return 0
        found = connection.execute("SELECT run_id FROM runs ORDER BY created_at, run_id")
        ids = [row["run_id"] for row in found]
        for run_id in ids:
            rows = made_rows(places.run_root(run_id), run_id)
            ledger_parts.project_run(places.ledger_parts, connection, run_id, rows)
    rebuild_catalog(places)
    return len(ids)


def rebuild_catalog(places: Places) -> None:
    """Replace `data/catalog.duckdb` by views over the parts that count now."""
    files: dict[str, list[str]] = {}
    for part in ledger_parts.load_index(places.ledger_parts):
        files.setdefault(part["table"], []).append(str(places.ledger_parts / part["file"]))
    catalog.replace(places.catalog, files, definitions(), lake_views(places))


def lake_views(places: Places) -> dict[str, str]:
    """Views of the tables of the newest published snapshot; none before the first."""
    from quantctl.lake.snapshot import Lake

    try:
        return Lake(places.lakehouse_dir).snapshot("latest").view_queries()
    except QuantError:
        return {}
