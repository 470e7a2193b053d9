"""The directional relation of one atom, recomputed on its own: nothing here uses the stream kernel.

With r the raw column and G the gate that must have been in force, every row must satisfy, bit for bit,

    LONG    x = G * r
    SHORT   x = G * (-min(r, 1))

(gates page, section 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.settings.synthesis import SynthesisSettings
from quantctl.contracts.stage import Finding

Floats = NDArray[np.float64]

UNGATED = frozenset({"rating_all", "rating_ma", "rating_osc", "vol_breakout"})
GATED = frozenset({"momentum", "trend", "reversion"})


class Columns(NamedTuple):
    """What is known of one atom: its table row, and its three columns (synthetic rows; raw all rows)."""

    atom: dict[str, Any]
    dates: pl.Series
    synthetic: pl.Series
    gate: pl.Series
    raw: pl.Series


def check_atom(columns: Columns, settings: SynthesisSettings) -> list[Finding]:
    """Findings of one atom; empty when direction, cap and gate hold on every row."""
    if _has_gaps(columns.synthetic) or _has_gaps(columns.raw) or columns.gate.null_count():
        return [_error("SIGNTEST_NAN_MASK", columns, "stream, raw column or gate has missing values")]
    base = _base(columns.raw.to_numpy(), columns.atom["direction"])
    expected = _expected_gate(base, columns.atom, settings)
    if expected is None:
        return [_error("SIGNTEST_GATE_INVALID", columns, f"logic {columns.atom['logic']} has no known gate")]
    rows = len(columns.synthetic)
    base, expected = base[-rows:], expected[-rows:]
    return [
        *_gate_findings(columns, expected),
        *_relation_findings(columns, expected * base),
        *_evidence_findings(columns, base),
    ]


def _has_gaps(column: pl.Series) -> bool:
    return bool(column.null_count()) or bool(column.is_nan().any())


def _base(raw: Floats, direction: str) -> Floats:
    if direction == "LONG":
        return raw
    return -np.where(raw > 1.0, 1.0, raw)


def _gate_findings(columns: Columns, expected: Floats) -> list[Finding]:
    if bool(columns.atom["gated"]) != (columns.atom["logic"] in GATED):
        return [_error("SIGNTEST_GATE_INVALID", columns, "the gated flag contradicts the logic")]
    wrong = columns.gate.to_numpy().astype(np.float64) != expected
    if not wrong.any():
        return []
    message = f"gate differs from its recomputation on {int(wrong.sum())} rows"
    return [_error("SIGNTEST_GATE_INVALID", columns, message, **_where(columns.dates, wrong))]


def _relation_findings(columns: Columns, expected: Floats) -> list[Finding]:
    found = columns.synthetic.to_numpy()
    wrong = found != expected
    if not wrong.any():
        return []
    short = columns.atom["direction"] == "SHORT"
    code = "SIGNTEST_SHORT_NOT_INVERTED" if short else "SIGNTEST_LONG_MISMATCH"
    deviation = float(np.max(np.abs(np.nan_to_num(found - expected, nan=np.finfo(np.float64).max))))
    details = _where(columns.dates, wrong) | {"max_deviation": deviation}
    return [_error(code, columns, f"stream differs from gate * base on {int(wrong.sum())} rows", **details)]


def _evidence_findings(columns: Columns, base: Floats) -> list[Finding]:
    if columns.atom["gated"] or (base != 0.0).any():
        return []
    return [_error("SIGNTEST_NO_EVIDENCE", columns, "the raw column is zero on every row")]


def _where(dates: pl.Series, wrong: NDArray[np.bool_]) -> dict[str, Any]:
    first = dates[int(np.argmax(wrong))]
    return {"count": int(wrong.sum()), "first_date": first.date().isoformat()}


def _expected_gate(base: Floats, atom: dict[str, Any], settings: SynthesisSettings) -> Floats | None:
    if atom["logic"] in UNGATED:
        return np.ones(len(base))
    if atom["logic"] not in GATED:
        return None
    window = getattr(settings, f"{atom['logic']}_window")
    return np.array(_gates(base.tolist(), atom["logic"], window))


def _gates(stream: Sequence[float], logic: str, window: int) -> list[float]:
    """Gate per row, NaN while it is undefined; row t looks at rows before t only."""
    index, level = [], 1.0
    for value in stream:
        level *= 1.0 + value
        index.append(level)
    gates = [float("nan")] * min(window, len(stream))
    for t in range(window, len(stream)):
        past = index[t - window : t] if logic == "reversion" else stream[t - window : t]
        gates.append(float(index[t - 1] > 0.0 and _is_active(past, index[t - 1], logic)))
    return gates


def _is_active(past: Sequence[float], level: float, logic: str) -> bool:
    if logic == "momentum":
        growth = 1.0
        for value in past:
            growth *= 1.0 + value
        return growth > 1.0
    total = past[0]
    for value in past[1:]:
        total += value
    return total > 0.0 if logic == "trend" else level < total / len(past)


def _error(code: str, columns: Columns, message: str, **details: Any) -> Finding:
    return Finding(level="ERROR", code=code, message=message, symbol=columns.atom["atom"], details=details)
