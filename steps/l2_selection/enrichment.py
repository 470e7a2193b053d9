"""Enrichment: what execution and reports need to know of each winner; the winner set is not touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quantctl.contracts.errors import ContractError
from quantctl.contracts.records.selection import MetaRow, PortfolioMeta
from quantctl.contracts.stage import Outcome, RunFacts, stage

if TYPE_CHECKING:
    import polars as pl

    from quantctl.contracts.records.candidates import RawPool
    from quantctl.contracts.records.selection import Winner, Winners

EXECUTION = (
    "tick_size", "lot_size", "price_precision", "min_notional", "min_notional_reason", "min_qty", "max_qty",
    "contract_size", "provenance",
)  # fmt: skip
CLASSIFICATION = ("base", "quote", "sector", "industry")


@stage("selection.enrichment", writes=("portfolio_meta",))
def enrich(
    portfolio_candidates: Winners,
    portfolio_candidates_raw: RawPool,
    lake_metadata: pl.DataFrame,
    lake_symbols: pl.DataFrame,
    run: RunFacts,
) -> Outcome:
    """Join execution metadata and classification to the winners, in their order.

    A symbol without a row keeps nulls, which gate `enrichment` judges. Raises `ENRICHMENT_WINNER_UNKNOWN`
    (exit 1) for a winner that the pool does not hold.
    """
    calendars = {row.atom: row.calendar for row in portfolio_candidates_raw.rows}
    execution = _by_symbol(lake_metadata, EXECUTION)
    classes = _by_symbol(lake_symbols, CLASSIFICATION)
    rows = [
        enriched(
            winner,
            _calendar(calendars, winner.atom),
            execution.get(winner.symbol),
            classes.get(winner.symbol),
        )
        for winner in portfolio_candidates.winners
    ]
    meta = PortfolioMeta(
        run_id=run.run_id,
        profile=portfolio_candidates.profile,
        as_of=portfolio_candidates.as_of,
        rows=rows,
    )
    known = sum(row.metadata_provenance is not None for row in rows)
    return Outcome(outputs={"portfolio_meta": meta}, metrics={"winners": len(rows), "with_metadata": known})


def enriched(
    winner: Winner,
    calendar: str,
    execution: Mapping[str, Any] | None,
    classes: Mapping[str, Any] | None,
) -> MetaRow:
    """`winner` with its metadata; a missing source leaves nulls, and nothing of the winner changes."""
    known = dict(execution) if execution is not None else dict.fromkeys(EXECUTION)
    provenance = known.pop("provenance")
    if known["min_notional"] is not None:
        known["min_notional_reason"] = None
    elif known["min_notional_reason"] is None:
        known["min_notional_reason"] = "METADATA_INCOMPLETE" if execution is None else "NO_VENUE_RULE"
    described = dict(classes) if classes is not None else dict.fromkeys(CLASSIFICATION)
    return MetaRow(
        **winner.model_dump(), **known, **described, metadata_provenance=provenance, calendar=calendar
    )


def _by_symbol(frame: pl.DataFrame, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    rows = frame.select("symbol", *names).iter_rows(named=True)
    return {row["symbol"]: {name: row[name] for name in names} for row in rows}


def _calendar(calendars: Mapping[str, str], atom: str) -> str:
    if atom not in calendars:
        raise ContractError(
            "ENRICHMENT_WINNER_UNKNOWN",
            f"winner {atom} is not in the pool",
            where="data/portfolio_candidates.json",
        )
    return calendars[atom]
