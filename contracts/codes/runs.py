"""Codes of runs, stages, ledger, state database and worker."""

from __future__ import annotations

from quantctl.contracts.codes.row import Code

CODES: dict[str, Code] = {}
