"""Resources of a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from quantctl.contracts.settings.section import AtLeastOne, NonNegative, Positive, Section

LeaseSeconds = Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)]


class OrchestrationSettings(Section):
    """`orchestration.*`: processor, memory, disk and interruption."""

    cpus: AtLeastOne | None = Field(
        None, description="Child processes times threads; null: at most two cores."
    )
    mem_gb: Positive | None = Field(None, description="Memory cap in GB; null: 75 per cent of the machine.")
    parallel: bool = Field(True, description="Whether branches may run side by side.")
    grace_seconds: NonNegative = Field(30, description="Time that the current stage gets after an interrupt.")
    lease_seconds: LeaseSeconds = Field(
        15, description="On Postgres: time after which a worker that gives no sign of life loses its runs."
    )
    max_runs: AtLeastOne | None = Field(
        None, description="On Postgres: runs at once over all workers; null: no limit beyond each worker's."
    )
    min_free_mb: NonNegative = Field(200, description="Free disk space required before each stage, in MB.")
