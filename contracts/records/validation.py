"""`atomic_validation_<PROFILE>_<RUN_ID>.json`: whether a run is complete, consistent and untouched."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from quantctl.contracts.records.verdict import Verdict


class Check(BaseModel):
    """One check, passing or not: `family` is what the command line prints, `code` the exact reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ok: bool
    family: str
    code: str
    message: str


class AtomicValidation(Verdict):
    """A verdict with every check, the files it saw and figures of the returns matrix.

    A gate that could not judge has only its verdict: no checks, and null for whether it asks for the sign.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    require_sign_gate: bool | None = None
    artifacts: dict[str, dict[str, Any]] = Field(default_factory=dict)
    stats: dict[str, Any] = Field(default_factory=dict)
    checks: list[Check] = Field(default_factory=list)
