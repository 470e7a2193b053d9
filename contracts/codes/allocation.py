"""Codes of risk model, kernels, fallbacks and flattening."""

from __future__ import annotations

from quantctl.contracts.codes.row import Code

CODES: dict[str, Code] = {}
