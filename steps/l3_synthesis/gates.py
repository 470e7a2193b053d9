"""Gate G7: the invariants of the synthesis (gates page, section 3, level L3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from quantctl.contracts.stage import Finding, Judgement, Loaded, gate

LOWEST, HIGHEST = -1.0, 5.0
HIGHEST_SHORT = 1.0
LEAST_ACTIVE_SHARE = 0.05


@gate("l3", stage="selection.synthesis", order=1, writes="gate_l3")
def l3(
    synthetic_returns: Loaded[pl.DataFrame],
    synthetic_gates: Loaded[pl.DataFrame],
    atoms: Loaded[pl.DataFrame],
) -> Judgement:
    """Hold streams, gates and atom table to the invariants of level L3."""
    inputs: tuple[Loaded[Any], ...] = (synthetic_returns, synthetic_gates, atoms)
    unread = [
        _finding("ERROR", "L3_PARSE", f"{loaded.path} is {loaded.problem}: {loaded.detail}")
        for loaded in inputs
        if loaded.value is None
    ]
    if synthetic_returns.value is None or synthetic_gates.value is None or atoms.value is None:
        return Judgement(unread, {"atoms": 0, "rows": 0})
    return _judge(synthetic_returns.value, synthetic_gates.value, atoms.value)


def _judge(streams: pl.DataFrame, gates: pl.DataFrame, atoms: pl.DataFrame) -> Judgement:
    findings = _columns(streams, "synthetic_returns", atoms) + _columns(gates, "synthetic_gates", atoms)
    known = [row for row in atoms.iter_rows(named=True) if row["atom"] in streams.columns]
    for row in known:
        findings += _range(row, streams[row["atom"]])
    gated = [row["atom"] for row in atoms.iter_rows(named=True) if row["atom"] in gates.columns]
    active = {}
    for name in gated:
        findings += _gate_range(name, gates[name])
        active[name] = _active_share(gates[name])
    findings += _dormant(active)
    examined = bool(known) and streams.height > 0
    return Judgement(
        findings, {"atoms": len(known) if examined else 0, "rows": streams.height if examined else 0}
    )


def _columns(frame: pl.DataFrame, name: str, atoms: pl.DataFrame) -> list[Finding]:
    """`L3_ATOM_TABLE` for every column without a row and every row without a column."""
    wrong = set(frame.columns[1:]) ^ set(atoms["atom"])
    message = f"{name} and the atom table differ"
    return [_finding("ERROR", "L3_ATOM_TABLE", message, atom) for atom in sorted(wrong)]


def _range(row: dict[str, Any], column: pl.Series) -> list[Finding]:
    highest = HIGHEST_SHORT if row["direction"] == "SHORT" else HIGHEST
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    outside = int((~((values >= LOWEST) & (values <= highest))).sum())
    if not outside:
        return []
    message = f"{outside} values are not in [{LOWEST:g}, {highest:g}]"
    return [_finding("ERROR", "L3_RANGE", message, row["atom"], count=outside)]


def _gate_range(name: str, column: pl.Series) -> list[Finding]:
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    outside = int((~np.isin(values, (0.0, 1.0))).sum())
    if not outside:
        return []
    return [_finding("ERROR", "L3_GATE_RANGE", f"{outside} gates are neither 0 nor 1", name, count=outside)]


def _active_share(column: pl.Series) -> float:
    return float((column == 1).sum()) / column.len() if column.len() else 0.0


def _dormant(active: dict[str, float]) -> list[Finding]:
    if active and not any(active.values()):
        return [_finding("ERROR", "L3_ALL_DORMANT", f"none of {len(active)} atoms is ever active")]
    return [
        _finding("WARN", "L3_DORMANT", f"active on {share:.1%} of the rows", name, share=share)
        for name, share in active.items()
        if share < LEAST_ACTIVE_SHARE
    ]


def _finding(level: Any, code: str, message: str, symbol: str | None = None, **details: Any) -> Finding:
    return Finding(level=level, code=code, message=message, symbol=symbol, details=details)
