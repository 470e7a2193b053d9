"""Gate G9: the regime record is whole, its score finite, its labels consistent."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel

from quantctl.contracts.records.regime import RegimeRecord
from quantctl.contracts.stage import Finding, Judgement, Loaded, gate


@gate("regime", stage="allocation.regime", order=1, writes="gate_regime")
def regime_gate(regime: Loaded[Any]) -> Judgement:
    """Hold the regime to its vocabulary and its score to a finite number >= 0."""
    if regime.value is None:
        return Judgement([_error("REGIME_PARSE", f"{regime.path} is {regime.problem}: {regime.detail}")], {})
    body = regime.value.model_dump() if isinstance(regime.value, BaseModel) else regime.value
    try:
        record = RegimeRecord.model_validate(body)
    except ValueError as problem:
        return Judgement([_error("REGIME_PARSE", f"{regime.path} breaks its contract: {problem}"[:400])], {})
    return Judgement(_judge(record), {"records": 1, "components": len(record.components), "rows": record.n})


def _judge(record: RegimeRecord) -> list[Finding]:
    found = []
    total = max(0.0, 1.0 + math.fsum(item.contribution for item in record.components.values()))
    if abs(record.score - total) > 1e-9:
        found.append(
            _error("REGIME_SCORE_INVALID", f"score {record.score} is not 1 + contributions, {total}")
        )
    grave = "CRISIS" in (record.regime, record.quadrant)
    if grave != (record.environment == "CRISIS"):
        found.append(
            _error("REGIME_LABEL_INVALID", f"environment {record.environment} contradicts its labels")
        )
    return found


def _error(code: str, message: str) -> Finding:
    return Finding(level="ERROR", code=code, message=message)
