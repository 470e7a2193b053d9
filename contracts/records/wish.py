"""What a command asks of the process that executes runs, and what that process answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from quantctl.contracts.errors import QuantError, error_from_dict


class Wish(BaseModel):
    """The input of `admin.v1`: one verb on one run. JSON-able and small.

    attempt : of the run when it was asked; what is asked of a later attempt needs a new wish
    from_stage : of a retry; reason : of a cancellation; adopt_version : of a resume
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    verb: Literal["cancel", "resume", "retry"]
    run_id: str
    attempt: int = 1
    from_stage: str | None = None
    reason: str = ""
    adopt_version: bool = False


class Answer(BaseModel):
    """The output of `admin.v1`: done, or the typed error that refused it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error: dict[str, Any] | None = None

    def check(self) -> None:
        """Raise the error that refused the wish, as the process that met it would have."""
        if self.error is not None:
            raise error_from_dict(self.error)

    @classmethod
    def of(cls, problem: QuantError) -> Answer:
        """A refusal."""
        return cls(error=problem.to_dict())
