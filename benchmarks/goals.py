"""Goals and floors of the allocation kernels. Floor = twice the goal in Choleskys, half of it against a peer.

`SAFE` holds the floors at N = 1000 that are stated by themselves.
"""

from __future__ import annotations

SIZES = (20, 100, 250, 500, 1000)

CHOLESKYS: dict[str, tuple[float, float, float, float, float]] = {
    "cov": (16, 10, 5, 3, 1.2),
    "kappa": (20, 10, 5, 3, 0.5),
    "hrp": (150, 35, 10, 5, 2),
    "herc": (100, 40, 14, 8, 3),
    "erc_lo": (50, 8, 1.8, 0.6, 0.3),
    "erc_ls": (50, 14, 4.5, 1.6, 2),
    "minvar_lo": (40, 10, 5, 2, 0.5),
    "minvar_ls": (35, 6, 5, 4, 3),
    "minvar_warm": (20, 4, 1, 0.5, 0.2),
    "maxsharpe": (45, 10, 8, 4, 3),
    "maxsharpe_warm": (30, 6, 5, 2.5, 2),
    "maxdiv": (12, 8, 5, 4, 3),
    "mvo": (35, 15, 7, 4, 2.5),
    "mincvar": (1000, 420, 170, 70, 30),
}
SAFE: dict[str, float] = {
    "kappa": 5, "hrp": 4, "herc": 5, "erc_lo": 1, "erc_ls": 5, "minvar_lo": 5, "minvar_ls": 5,
    "minvar_warm": 1, "maxsharpe": 6, "maxsharpe_warm": 6, "maxdiv": 6, "mvo": 6, "mincvar": 50,
}  # fmt: skip
RATIOS: dict[str, dict[str, float | None]] = {
    "cov": {"skfolio": 10, "riskfolio": 12, "pypfopt": 5},
    "hrp": {"skfolio": 60, "riskfolio": 90, "pypfopt": 60},
    "herc": {"skfolio": 30, "riskfolio": None},
    "erc_lo": {"skfolio": 120, "riskfolio": 250},
    "erc_ls": {"skfolio": 55, "riskfolio": 145},
    "minvar_lo": {"skfolio": 70, "riskfolio": 160, "pypfopt": 20},
    "minvar_ls": {"skfolio": 50, "riskfolio": 90, "pypfopt": 9},
    "maxsharpe": {"skfolio": 40, "riskfolio": 90, "pypfopt": 20},
    "maxdiv": {"skfolio": 40},
    "mvo": {"skfolio": 40, "pypfopt": 20},
    "mincvar": {"skfolio": 11, "riskfolio": 13, "pypfopt": 13},
}
RATIOS_FROM = 100
REFERENCE = (20.0, 8.0)
WALKFORWARD = (100.0, 30.0)
INFEASIBLE = (60.0, 120.0)


def choleskys(claim: str, size: int) -> tuple[float, float]:
    """Goal and floor in Choleskys."""
    goal = CHOLESKYS[claim][SIZES.index(size)]
    return goal, SAFE.get(claim, 2 * goal) if size == 1000 else 2 * goal


def ratio(claim: str, library: str) -> tuple[float | None, float | None]:
    """Goal and floor of peer / ours; null where the peer has another definition: timed, not compared."""
    goal = RATIOS[claim][library]
    return (None, None) if goal is None else (goal, goal / 2)
