"""How eligible atoms are ordered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from quantctl.contracts.settings.section import Positive, Section, one_of

METHODS = ("mps", "signal", "regime", "ensemble")
Method = Annotated[str, one_of("CONFIG_RANGE", "ranking method", METHODS)]
Member = Annotated[str, one_of("CONFIG_RANGE", "ranking method", ("mps", "signal", "regime"))]


class RankingSettings(Section):
    """`ranking.*`: score and order of candidates."""

    method: Method = Field("mps", description="Score that orders candidates.")
    direction: Literal["auto", "descending", "ascending"] = Field(
        "auto", description="Order of the unadjusted signal: descending for LONG, ascending for SHORT."
    )
    signal: str | None = Field(None, description="Frame column ranked by `signal`; null: the logic's own.")
    ensemble: dict[Member, Positive] = Field({}, description="Weights of the members of `ensemble`.")
    regime_fit: bool = Field(False, description="Scale the rank score by the strategy's fit to the regime.")
