"""The sleeve: what one run of a profile may hold."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from quantctl.contracts.settings.section import Section

Direction = Literal["LONG", "SHORT", "MIXED"]


class SleeveSettings(Section):
    """`sleeve.*`: the intent of the sleeve."""

    direction: Direction = Field("LONG", description="Directions that candidates of the sleeve may have.")
