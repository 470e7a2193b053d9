"""The one stream kernel: cap, sign and gate of a return stream exist only here.

Raw simple returns `r` become the stream of a direction (features page, section 14)::

    s = r                         LONG
    s = -clip(r, upper=1.0)       SHORT, whose loss is capped at -100 %
    x = gate * s                  gate in {0, 1}, known at the close before
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ContractError

Floats = NDArray[np.float64]

SHORT_LOSS_CAP = 1.0
FACTORS: dict[str, int] = {"LONG": 1, "SHORT": -1}


def factor_of(direction: str) -> int:
    """+1 for LONG, -1 for SHORT; raises `DIRECTION_UNKNOWN` (exit 1) for anything else."""
    if direction not in FACTORS:
        raise ContractError("DIRECTION_UNKNOWN", f"direction {direction!r} is neither LONG nor SHORT")
    return FACTORS[direction]


def direction_stream(returns: Floats, direction: str) -> Floats:
    """Stream of one direction.

    returns : simple returns, any shape, decimal fractions
    direction : LONG or SHORT

    Returns an array of the same shape: `r` itself for LONG, `-min(r, 1)` for SHORT. NaN stays NaN.
    """
    if factor_of(direction) > 0:
        return np.asarray(returns, dtype=np.float64)
    return -np.minimum(returns, SHORT_LOSS_CAP)


def direction_streams(returns: Floats, directions: Sequence[str]) -> Floats:
    """`direction_stream` column by column: `returns` is (rows, atoms), one direction per column."""
    short = np.array([factor_of(direction) < 0 for direction in directions], dtype=bool)
    return np.where(short, -np.minimum(returns, SHORT_LOSS_CAP), returns)


def gated_stream(stream: Floats, gate: Floats) -> Floats:
    """`gate * s`, elementwise; `gate` holds 0 and 1 and was known at the close before each row."""
    return gate * stream
