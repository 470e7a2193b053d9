"""The atom table: the only place where the parts of an atom are read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import polars as pl

from quantctl.contracts.errors import ContractError
from quantctl.contracts.ids import atom_id
from quantctl.contracts.settings.synthesis import SynthesisSettings
from quantctl.steps.l3_synthesis.logics import logic_of, window_of
from quantctl.steps.l3_synthesis.streams import factor_of

TIMESCALE = "1d"
SCHEMA: dict[str, Any] = {
    "atom": pl.String, "symbol": pl.String, "logic": pl.String, "direction": pl.String, "factor": pl.Int8,
    "family": pl.String, "gated": pl.Boolean, "deploy_gate": pl.Int8, "timescale": pl.String,
    "warmup_bars": pl.Int32, "cluster": pl.String, "alpha_score": pl.Float64, "stage_admitted": pl.Int8,
}  # fmt: skip


def atom_table(
    winners: Sequence[Any], deploy_gates: Mapping[str, int], settings: SynthesisSettings
) -> pl.DataFrame:
    """Atoms sorted by id, one row per winner.

    winners : rows with symbol, logic, direction, cluster, alpha_score and stage_admitted
    deploy_gates : atom id -> gate of the next bar; an ungated atom needs no entry

    Raises `ATOM_DUPLICATE`, `LOGIC_UNKNOWN` and `DIRECTION_UNKNOWN` (exit 1).
    """
    rows = sorted((_row(w, deploy_gates, settings) for w in winners), key=lambda row: str(row["atom"]))
    for first, second in pairwise(rows):
        if first["atom"] == second["atom"]:
            raise ContractError(
                "ATOM_DUPLICATE", f"two winners are atom {first['atom']}", where=first["atom"]
            )
    return pl.DataFrame(rows, schema=SCHEMA)


def _row(winner: Any, deploy_gates: Mapping[str, int], settings: SynthesisSettings) -> dict[str, Any]:
    atom = atom_id(winner.symbol, winner.logic, winner.direction)
    logic = logic_of(winner.logic)
    return {
        "atom": atom,
        "symbol": winner.symbol,
        "logic": winner.logic,
        "direction": winner.direction,
        "factor": factor_of(winner.direction),
        "family": logic.family,
        "gated": logic.gated,
        "deploy_gate": deploy_gates[atom] if logic.gated else 1,
        "timescale": TIMESCALE,
        "warmup_bars": window_of(winner.logic, settings),
        "cluster": str(winner.cluster),
        "alpha_score": winner.alpha_score,
        "stage_admitted": winner.stage_admitted,
    }
