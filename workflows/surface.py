"""What `quantctl sql` reads: the SQL surface of one installation, wired to its places."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from quantctl.contracts.errors import QuantError
from quantctl.lake.live_sql import Surface
from quantctl.lake.state import Reader
from quantctl.workflows.made_rows import made_rows
from quantctl.workflows.runtime import Places
from quantctl.workflows.sql_files import definitions


def live_surface(places: Places) -> Surface:
    """The surface that a query is answered from."""
    return Surface(
        parts=places.ledger_parts,
        state_url=places.state_url,
        definitions=definitions(),
        lake_views=partial(lake_views, places),
        made=partial(made_of, places),
        allowed=(places.lakehouse_dir, places.ledger_parts, places.artifacts_dir),
    )


def made_of(places: Places, connection: Reader, run_id: str) -> Mapping[str, list[tuple[Any, ...]]]:
    """The rows of a run that are made from its artifacts."""
    return made_rows(connection, places.run_root(run_id), run_id)


def lake_views(places: Places) -> dict[str, str]:
    """Views of the tables of the newest published snapshot; none before the first."""
    from quantctl.lake.snapshot import Lake

    try:
        return Lake(places.lakehouse_dir).snapshot("latest").view_queries()
    except QuantError:
        return {}
