"""Projecting a run onto the SQL surface: parts of its rows, then the catalogue of views."""

from __future__ import annotations

import logging
from functools import partial

from quantctl.lake import audit_file, catalog, ledger_copies, ledger_index, ledger_parts, state
from quantctl.lake.fault_points import reach
from quantctl.lake.ledger_index import Index
from quantctl.workflows.runtime import Places
from quantctl.workflows.sql_files import definitions
from quantctl.workflows.surface import lake_views, made_of

log = logging.getLogger("quantctl.projection")
PATIENCE_SECONDS = 5.0  # a run does not wait longer for a projector that may sleep


def project_run(places: Places, run_id: str) -> None:
    """Bring the SQL surface of one run up to its last booked record.

    A projection that fails stops no run: it is logged, and `quantctl sql --rebuild` makes it anew.
    """
    try:
        _project_run(places, run_id)
    except ledger_parts.ProjectorBusyError:  # SQL reads the run from the state database until then
        log.warning("the SQL surface of run %s waits: another process is at it", run_id)
    except Exception:
        log.exception("the SQL surface of run %s could not be projected", run_id)


def _project_run(places: Places, run_id: str) -> None:
    reach("projection.begin")
    with state.reader(places.state_url) as connection:
        if connection is None:
            return
        with ledger_parts.alone(places.ledger_parts, PATIENCE_SECONDS):
            ledger_parts.project_run(places.ledger_parts, connection, run_id, partial(made_of, places))
            reach("projection.parts")
            _replace_catalog(places)


def rebuild_all(places: Places) -> int:
    """Project every run of the state database anew; returns their number.

    An `audit.jsonl` of a run that is over is written anew where it is missing or ends early.
    """
    with state.reader(places.state_url) as connection:
        if connection is None:
            return 0
        _restore_audit_files(places, connection)
        with ledger_parts.alone(places.ledger_parts):
            count = ledger_parts.rebuild(places.ledger_parts, connection, partial(made_of, places))
            _replace_catalog(places)
    return count


def _restore_audit_files(places: Places, connection: state.Reader) -> None:
    for run_id in ledger_copies.run_ids(connection):
        kept, root = ledger_copies.kept(connection, run_id), places.run_root(run_id)
        if kept is not None and kept.over and kept.lines and root.is_dir():
            audit_file.restore(root, run_id, kept.lines)


def _replace_catalog(places: Places) -> None:
    """Replace `data/catalog.duckdb` by views over the parts that count now."""
    index = ledger_index.load(places.ledger_parts) or Index()
    catalog.replace(places.catalog, places.ledger_parts, index, definitions(), lake_views(places))
