"""The verdict of a gate, as written beside what it judged (schema `quantctl.gate/1`)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from quantctl.contracts.stage import Level


class VerdictFinding(BaseModel):
    """One finding of a gate; `symbol` is a symbol, atom, sleeve id or null."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Level
    code: str
    run_id: str
    symbol: str | None
    message: str
    details: dict[str, Any]


class Verdict(BaseModel):
    """A gate's verdict: FAIL iff it has errors, WARN iff it has warnings only.

    `checked` counts what was really examined. Gates may add further top-level fields (the sign
    test repeats its counts there), so extra keys are allowed here and nowhere else.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    schema_: Literal["quantctl.gate/1"] = Field("quantctl.gate/1", alias="schema")
    gate: str
    run_id: str
    profile: str
    trace_id: str
    status: Literal["PASS", "WARN", "FAIL"]
    errors: int = Field(ge=0)
    warnings: int = Field(ge=0)
    findings: list[VerdictFinding]
    checked: dict[str, int]
    inputs: dict[str, str | None]
