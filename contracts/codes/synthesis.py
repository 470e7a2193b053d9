"""Codes of atoms, streams, sign tests and regime."""

from __future__ import annotations

from quantctl.contracts.codes.row import Code

CODES: dict[str, Code] = {
    # atoms and streams
    "DIRECTION_UNKNOWN": Code(1, "A direction is neither LONG nor SHORT."),
}
