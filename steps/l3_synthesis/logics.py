"""Strategy logics: their family, and the gate by which a gated one is active or flat.

The gate in force on row t is decided on the direction's own stream s through t - 1, so a SHORT
trend atom is active when its market falls. With q the compounded index of s (features page, 14)::

    momentum    prod(1 + s) over the last w bars > 1
    trend       sum of s over the last w bars > 0
    reversion   q(t-1) < mean of q over the last w bars

A tie is flat, and so is every bar after a total loss (q = 0).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ContractError
from quantctl.contracts.settings.synthesis import SynthesisSettings

Floats = NDArray[np.float64]


class Logic(NamedTuple):
    """A strategy logic: its family in the regime ranker and whether it has a gate."""

    family: str
    gated: bool


LOGICS: dict[str, Logic] = {
    "rating_all": Logic("trend", False),
    "rating_ma": Logic("trend", False),
    "rating_osc": Logic("mean_reversion", False),
    "vol_breakout": Logic("breakout", False),
    "momentum": Logic("trend", True),
    "trend": Logic("trend", True),
    "reversion": Logic("mean_reversion", True),
}


def logic_of(name: str) -> Logic:
    """Row of the logic table; raises `LOGIC_UNKNOWN` (exit 1)."""
    if name not in LOGICS:
        raise ContractError("LOGIC_UNKNOWN", f"logic {name!r} is none of {', '.join(LOGICS)}", where=name)
    return LOGICS[name]


def window_of(logic: str, settings: SynthesisSettings) -> int:
    """Bars on which the gate of `logic` looks back; 0 for a pass-through logic."""
    if not logic_of(logic).gated:
        return 0
    return int(getattr(settings, f"{logic}_window"))


def gate_signal(stream: Floats, logic: str, window: int) -> NDArray[np.int8]:
    """Gates of one stream for rows 0..n, the last of which is the gate of the next bar.

    stream : (n,) the direction's own stream, decimal fractions, finite
    window : w >= 1; the first w entries are undefined and read -1

    Each window is summed oldest first, so a gate depends on its own window alone.
    """
    n = stream.shape[0]
    gates = np.full(n + 1, -1, dtype=np.int8)
    if n < window:
        return gates
    index: Floats = np.cumprod(1.0 + stream, dtype=np.float64)
    alive = index[window - 1 :] > 0.0
    gates[window:] = (_active(stream, index, logic, window) & alive).astype(np.int8)
    return gates


def _active(stream: Floats, index: Floats, logic: str, window: int) -> NDArray[np.bool_]:
    if logic == "momentum":
        return _rolling(1.0 + stream, window, np.multiply) > 1.0
    if logic == "trend":
        return _rolling(stream, window, np.add) > 0.0
    mean = _rolling(index, window, np.add) / window
    return np.asarray(index[window - 1 :] < mean)


def _rolling(values: Floats, window: int, combine: np.ufunc) -> Floats:
    """Window k combines values k .. k + w - 1 in that order; (n - w + 1,)."""
    count = values.shape[0] - window + 1
    total = values[:count].copy()
    for offset in range(1, window):
        combine(total, values[offset : offset + count], out=total)
    return total
