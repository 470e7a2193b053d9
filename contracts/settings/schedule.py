"""When a profile runs by itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from quantctl.contracts.nearest import did_you_mean
from quantctl.contracts.settings.section import NonNegative, Section, refusal

SHORTHANDS = ("@hourly", "@daily", "@weekly", "@monthly")


def _cron(value: str) -> str:
    """A cron expression of five fields, of six with seconds first, or a shorthand."""
    from croniter import croniter

    if value.startswith("@"):
        if value not in SHORTHANDS:
            hint = did_you_mean(value, SHORTHANDS) or f"; known: {', '.join(SHORTHANDS)}"
            raise refusal("SCHEDULE_CRON", f"unknown shorthand {value!r}{hint}")
        return value
    if len(value.split()) not in (5, 6) or not croniter.is_valid(value, second_at_beginning=True):
        raise refusal(
            "SCHEDULE_CRON",
            f"{value!r} is no cron expression: minute hour day month weekday, for example '30 2 * * *'",
        )
    return value


def _zone(value: str) -> str:
    """`UTC`, or a name of the time zone database."""
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        hint = did_you_mean(value, available_timezones()) or "; for example 'UTC' or 'Europe/Berlin'"
        raise refusal("SCHEDULE_ZONE", f"unknown time zone {value!r}{hint}") from None
    return value


class ScheduleSettings(Section):
    """`schedule.*`: what `quantctl schedule apply` reads; a schedule is not inherited."""

    cron: Annotated[str, AfterValidator(_cron)] | None = Field(
        None, description="When: minute hour day month weekday; six fields begin with seconds."
        " Null with `after`: whenever that profile's schedule fires.",
    )  # fmt: skip
    after: str | None = Field(
        None, description="A profile whose scheduled run of the same time must have succeeded before."
    )
    pipeline: Literal["data.full", "alpha.full"] = Field("alpha.full", description="What runs.")
    timezone: Annotated[str, AfterValidator(_zone)] = Field("UTC", description="Time zone of `cron`.")
    enabled: bool = Field(True, description="Whether times start anything.")
    misfire: Literal["one", "none"] = Field(
        "one", description="Times that passed while no worker lived: start the newest of them, or none."
    )
    late_seconds: NonNegative = Field(300, description="How late a time may be noticed and still be on time.")
