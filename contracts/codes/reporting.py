"""Codes of validation, audits, INDEX and report."""

from __future__ import annotations

from quantctl.contracts.codes.row import Code

CODES: dict[str, Code] = {}
