"""Synthesis of atoms into return streams."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from quantctl.contracts.settings.section import Positive, Section

Window = Annotated[int, Field(ge=5, le=252)]


class Composite(Section):
    """One entry of `synthesis.composites`."""

    name: str = Field(description="Name of the composite.")
    kind: Literal["ensemble", "pair"] = Field(
        description="Atoms of one direction, or a long and a short leg."
    )
    members: tuple[str, ...] = Field(min_length=1, description="Atom ids.")
    weights: tuple[Positive, ...] | None = Field(None, description="One per member, sum 1; null for equal.")
    hedge: Literal["notional", "beta"] = Field("notional", description="How a pair is balanced.")


class SynthesisSettings(Section):
    """`synthesis.*`: gate windows and composites."""

    momentum_window: Window = Field(20, description="Window of the momentum gate, in bars.")
    trend_window: Window = Field(20, description="Window of the trend gate, in bars.")
    reversion_window: Window = Field(20, description="Window of the reversion gate, in bars.")
    composites: tuple[Composite, ...] = Field(
        (), description="Linear maps of atoms that allocation solves on."
    )
