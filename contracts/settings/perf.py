"""Time budgets."""

from __future__ import annotations

from pydantic import Field

from quantctl.contracts.settings.section import Positive, Section


class PerfSettings(Section):
    """`perf.*`: budgets whose excess is reported as `STAGE_BUDGET`."""

    budget: dict[str, Positive] = Field({}, description="Stage id to its CPU budget, in seconds.")
