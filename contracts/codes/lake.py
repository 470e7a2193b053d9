"""Codes of lakehouse, imports, DataOps, health and metadata."""

from __future__ import annotations

from quantctl.contracts.codes.row import Code

CODES: dict[str, Code] = {}
