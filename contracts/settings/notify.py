"""Who is told when a run has ended."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from quantctl.contracts.settings.section import AtLeastOne, Section

Patience = Annotated[float, Field(gt=0, le=300, allow_inf_nan=False)]


class NotifySettings(Section):
    """`notify.*`: a command or a webhook, told of the end of a run, which it can't change."""

    on: tuple[Literal["SUCCESS", "FAILED", "CANCELLED"], ...] = Field(
        ("SUCCESS", "FAILED", "CANCELLED"), description="Ends that are told."
    )
    command: tuple[str, ...] = Field(
        (), description="Program and its arguments, no shell; facts are in QUANTCTL_RUN_ID and its like."
    )
    webhook_url_env: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")] | None = Field(
        None, description="Variable that holds the URL for a POST of JSON; the URL itself is a secret."
    )
    webhook_token_env: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")] | None = Field(
        None, description="Variable that holds a token, sent as `Authorization: Bearer`."
    )
    timeout_seconds: Patience = Field(10, description="Time for one try.")
    tries: AtLeastOne = Field(5, description="Tries before it is given up, further and further apart.")
