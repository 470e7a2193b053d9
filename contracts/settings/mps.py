"""Weights of the multiplicative probability score."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from quantctl.contracts.settings.features import Metric
from quantctl.contracts.settings.section import NonNegative, Section


class MpsSettings(Section):
    """`mps.*`: which column of weights, and single overrides."""

    weight_set: Literal["global", "stage", "stressed"] = Field(
        "global", description="Column of metric weights."
    )
    weights_override: dict[Metric, NonNegative] = Field(
        {}, description="Metric to the weight that replaces its own."
    )
