"""How votes become ratings. Store parameters: part of the feature definition hash."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator

from quantctl.contracts.settings.section import NonNegative, Section, refusal


class RatingsSettings(Section):
    """`ratings.*`: weights and vote rules of recommend_ma, recommend_other and recommend_all."""

    weights: tuple[NonNegative, NonNegative] = Field(
        (0.5, 0.5), description="Weights of the moving-average and the oscillator rating; they sum to 1."
    )
    min_ma_votes: Annotated[int, Field(ge=1, le=15)] = Field(
        15, description="Fewest defined moving-average votes for a rating."
    )
    ichimoku: Literal["kijun", "cloud"] = Field(
        "kijun", description="Line that the Ichimoku vote compares with."
    )

    @field_validator("weights")
    @classmethod
    def _sum_to_one(cls, weights: tuple[float, float]) -> tuple[float, float]:
        if not math.isclose(sum(weights), 1.0, rel_tol=0, abs_tol=1e-9):
            raise refusal("RATING_WEIGHTS_INVALID", f"rating weights {list(weights)} do not sum to 1")
        return weights
