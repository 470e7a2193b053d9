"""Synthesis: every winner becomes an atom with one return stream and one gate column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.errors import ConfigError, ContractError
from quantctl.contracts.ids import atom_id
from quantctl.contracts.settings.synthesis import SynthesisSettings
from quantctl.contracts.stage import Finding, Outcome, StageParams, stage
from quantctl.steps.l3_synthesis.atoms import atom_table
from quantctl.steps.l3_synthesis.logics import gate_signal, window_of
from quantctl.steps.l3_synthesis.streams import direction_streams, gated_stream

Floats = NDArray[np.float64]


class SynthesisParams(StageParams):
    """Settings of the stage."""

    synthesis: SynthesisSettings


@dataclass(frozen=True)
class Panel:
    """Streams and gates before the warm-up is cut: arrays are (rows, atoms), columns by atom id."""

    names: list[str]
    streams: Floats
    gates: NDArray[np.int8]
    next_gates: dict[str, int]
    warmup: int


@stage(
    "selection.synthesis",
    writes=("synthetic_returns", "atoms", "synthetic_gates"),
    params=SynthesisParams,
)
def synthesise(
    portfolio_candidates: Any, returns_matrix: pl.DataFrame, foundation_report: Any, params: SynthesisParams
) -> Outcome:
    """Turn winners into return streams, gates and the atom table.

    Raises `COMPOSITE_UNAVAILABLE` (exit 2) where composites are configured, `SYNTHESIS_SYMBOL_MISSING`
    for a winner outside the pool columns, and `SYNTHESIS_TOO_SHORT` where warm-up leaves no row.
    """
    settings = params.synthesis
    _no_composites(settings)
    winners = sorted(portfolio_candidates.winners, key=lambda w: atom_id(w.symbol, w.logic, w.direction))
    _check_pool(winners, returns_matrix, foundation_report.column_roles)
    panel = build_panel(winners, returns_matrix, settings)
    atoms = atom_table(winners, panel.next_gates, settings)
    dates = returns_matrix["date"].slice(panel.warmup)
    streams = gated_stream(panel.streams[panel.warmup :], panel.gates[panel.warmup :].astype(np.float64))
    return Outcome(
        outputs={
            "synthetic_returns": _frame(dates, streams, panel.names),
            "atoms": atoms,
            "synthetic_gates": _frame(dates, panel.gates[panel.warmup :], panel.names),
        },
        findings=_findings(panel),
        metrics=_metrics(atoms, dates.len(), panel.warmup),
    )


def build_panel(winners: Sequence[Any], matrix: pl.DataFrame, settings: SynthesisSettings) -> Panel:
    """Streams and gates of `winners` (sorted by atom id) on every row of `matrix`."""
    names = [atom_id(w.symbol, w.logic, w.direction) for w in winners]
    returns = np.column_stack([matrix[w.symbol].to_numpy() for w in winners])
    streams = direction_streams(returns, [w.direction for w in winners])
    gates = np.ones(streams.shape, dtype=np.int8)
    next_gates: dict[str, int] = {}
    windows = [window_of(w.logic, settings) for w in winners]
    warmup = max(windows)
    if warmup >= len(streams):
        raise ContractError(
            "SYNTHESIS_TOO_SHORT", f"{len(streams)} rows, of which the gates need {warmup} to warm up"
        )
    for column, (winner, window) in enumerate(zip(winners, windows, strict=True)):
        if window:
            signal = gate_signal(streams[:, column], winner.logic, window)
            gates[:, column] = signal[:-1]
            next_gates[names[column]] = int(signal[-1])
    return Panel(names, streams, gates, next_gates, warmup)


def _no_composites(settings: SynthesisSettings) -> None:
    if settings.composites:
        raise ConfigError(
            "COMPOSITE_UNAVAILABLE",
            "composites cannot be solved yet: allocation works on atoms",
            where="synthesis.composites",
            remedy="remove synthesis.composites from the profile",
        )


def _check_pool(winners: Sequence[Any], matrix: pl.DataFrame, roles: dict[str, Any]) -> None:
    if not winners:
        raise ContractError("SELECTION_EMPTY", "there is no winner to synthesise")
    for winner in winners:
        if winner.symbol not in matrix.columns or "pool" not in roles.get(winner.symbol, ()):
            raise ContractError(
                "SYNTHESIS_SYMBOL_MISSING",
                f"winner {winner.symbol} is no pool column of the returns matrix",
                where=f"returns_matrix:{winner.symbol}",
            )


def _frame(dates: pl.Series, values: NDArray[Any], names: Sequence[str]) -> pl.DataFrame:
    columns = {name: np.ascontiguousarray(values[:, k]) for k, name in enumerate(names)}
    return pl.DataFrame({"date": dates, **columns})


def _findings(panel: Panel) -> list[Finding]:
    found = []
    if panel.warmup:
        message = f"{panel.warmup} leading rows warm up the gates"
        details = {"dropped_rows": panel.warmup}
        found.append(Finding(level="INFO", code="SYNTHESIS_WARMUP", message=message, details=details))
    for column, name in enumerate(panel.names):
        if (panel.streams[:, column] <= -1.0).any():
            message = f"stream {name} loses everything on at least one day"
            found.append(Finding(level="WARN", code="STREAM_RUINED", message=message, symbol=name))
    return found


def _metrics(atoms: pl.DataFrame, rows: int, warmup: int) -> dict[str, Any]:
    longs = int((atoms["factor"] > 0).sum())
    return {
        "n_atoms": atoms.height,
        "n_long": longs,
        "n_short": atoms.height - longs,
        "n_gated": int(atoms["gated"].sum()),
        "rows": rows,
        "dropped_rows": warmup,
        "warmup_bars": warmup,
    }
