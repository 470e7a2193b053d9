"""Codes of foundation rules, features, scoring, vetoes and the HTR ladder."""

from __future__ import annotations

from quantctl.contracts.codes.row import Code

CODES: dict[str, Code] = {}
