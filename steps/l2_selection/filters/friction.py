"""The friction filter: expected return net of the cost of trading an institutional order.

eci = σ_ann √(order/adv),    net = μ_ann - eci    (square-root impact)
"""

from __future__ import annotations

import numpy as np

from quantctl.steps.l2_selection.candidates import Candidates
from quantctl.steps.l2_selection.filters.darwinian import sigma_ann
from quantctl.steps.l2_selection.filters.veto import Veto, judged, vetoes_where

STAGE = "friction"


def hurdle(eci_hurdle: float, min_momentum_score: float) -> float:
    """Least annual net return; a negative momentum floor lowers it to floor - 0.05."""
    return min(eci_hurdle, min_momentum_score - 0.05) if min_momentum_score < 0.0 else eci_hurdle


def unknown_turnover(candidates: Candidates) -> list[Veto]:
    """`LIQUIDITY_UNKNOWN` where turnover is null or not above zero; no constant replaces it."""
    turnover = candidates.number("adv_30")
    return vetoes_where(~(turnover > 0.0), candidates.atoms, "LIQUIDITY_UNKNOWN", turnover, 0.0, STAGE)


def friction(candidates: Candidates, order: float, least: float) -> list[Veto]:
    """`FRICTION` where net < `least`, unless μ > 1 and net ≥ 1.25·`least`; unknown turnover is not judged.

    order : USD; least : annual return, decimal fraction
    """
    turnover, mean = candidates.number("adv_30"), candidates.number("momentum")
    liquid = turnover > 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        net = mean - sigma_ann(candidates) * np.sqrt(order / turnover)
    net[~liquid] = 0.0
    exempt = (mean > 1.0) & (net >= 1.25 * least)
    return judged(
        net, candidates.atoms, "momentum", "FRICTION", least, STAGE, lambda x: (x < least) & ~exempt & liquid
    )
