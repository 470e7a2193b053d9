"""The hierarchical threshold relaxation ladder."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from quantctl.contracts.settings.section import Fraction, Section, refusal

WINNER_FLOOR = 15


class HtrSettings(Section):
    """`htr.*`: floor of winners and the entropy hard stop."""

    floor: int = Field(WINNER_FLOOR, description="Winners at which the ladder stops; never below 15.")
    leg_floor: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Winners wanted in each leg of a MIXED sleeve as well; null: no such floor."
    )
    entropy_hard_stop: Fraction = Field(0.999, description="Permutation entropy that no stage admits.")
    entropy_hardening: bool = Field(False, description="Tighten entropy once in a noisy cross-section.")
    relaxation_stage: Annotated[int, Field(ge=1, le=4)] | None = Field(
        None, description="Rung of the ladder to evaluate alone; null climbs it."
    )

    @field_validator("floor")
    @classmethod
    def _not_below_fifteen(cls, floor: int) -> int:
        if floor < WINNER_FLOOR:
            raise refusal("HTR_FLOOR_TOO_LOW", f"htr.floor {floor} is below {WINNER_FLOOR}")
        return floor
