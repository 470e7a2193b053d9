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


def friction(candidates: Candidates, order: float, least: float) -> list[Veto]:
    """`FRICTION` where net < `least`, unless μ > 1 and net ≥ 1.25·`least`; unknown turnover is hard.

    order : USD; least : annual return, decimal fraction
    """
    atoms = candidates.atoms
    turnover, mean = candidates.number("adv_30"), candidates.number("momentum")
    illiquid = ~(turnover > 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        net = mean - sigma_ann(candidates) * np.sqrt(order / turnover)
    net[illiquid] = 0.0
    exempt = (mean > 1.0) & (net >= 1.25 * least)
    return [
        *vetoes_where(illiquid, atoms, "LIQUIDITY_UNKNOWN", turnover, 0.0, STAGE),
        *(
            veto
            for veto in judged(
                net, atoms, "momentum", "FRICTION", least, STAGE, lambda x: (x < least) & ~exempt & ~illiquid
            )
        ),
    ]
