"""The momentum filter, on only where it is listed: the stream's own 60-bar return."""

from __future__ import annotations

from quantctl.steps.l2_selection.candidates import Candidates
from quantctl.steps.l2_selection.filters.veto import Veto, judged

STAGE = "momentum"


def momentum(candidates: Candidates, least: float) -> list[Veto]:
    """`MOMENTUM_LOW` where the 60-bar compounded return of the stream is below `least` (a fraction)."""
    values = candidates.number("mom_60")
    return judged(values, candidates.atoms, "mom_60", "MOMENTUM_LOW", least, STAGE, lambda x: x < least)
