"""`data/regime.json`: what the market's own returns say of its state."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Regime = Literal["QUIET", "NORMAL", "TURBULENT", "CRISIS"]
Quadrant = Literal["EXPANSION", "INFLATIONARY_TREND", "STAGNATION", "CRISIS", "NORMAL"]
Environment = Literal["EXPANSION", "STAGNATION", "CRISIS", "NORMAL"]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Component(_Record):
    """A statistic, its null mean and deviation, its z and what it adds to the score.

    `raw` and `z` are null where the statistic has no finite value; `raw_reason` says why.
    """

    raw: Number | None
    raw_reason: Literal["ZERO_BASELINE", "ZERO_TAIL", "UNDEFINED"] | None
    mu0: Number
    sd0: Number
    z: Number | None
    contribution: Number


class Growth(_Record):
    """Annualised mean of the last 63 rows and its t statistic against the baseline deviation."""

    ann: Number | None
    t: Number | None
    t_reason: Literal["ZERO_BASELINE", "TOO_SHORT"] | None


class Hmm(_Record):
    """The hidden Markov model: state, acceptance and the figures behind it."""

    state: Literal["QUIET", "NORMAL", "CRISIS"]
    accepted: bool
    reason: str | None
    sigma_lo: Number | None
    sigma_hi: Number | None
    p_hi: Number | None
    bic1: Number | None
    bic_mix: Number | None
    bic_hmm: Number | None
    trans: tuple[tuple[Number, Number], tuple[Number, Number]] | None


class RegimeRecord(_Record):
    """The decision regime of a run.

    score is about 1 for noise; `environment` is the vocabulary's Regime, the graver of the two labels.
    `reason` is ABS_QUIET where the absolute floor decided.
    """

    n: int = Field(ge=0)
    regime: Regime
    score: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    quadrant: Quadrant
    environment: Environment
    reason: Literal["ABS_QUIET"] | None
    components: dict[str, Component]
    growth: Growth
    hmm: Hmm
    warnings: list[str]
