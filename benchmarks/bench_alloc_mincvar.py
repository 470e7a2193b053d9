"""mincvar: least expected shortfall at 95 % over 750 scenarios and the rows of LS."""

from __future__ import annotations

import sys

import grades
import peers
from allocation_data import Case
from contest import Kernel, Method
from lines import main
from measuring import Call
from ours import built, rivals, weights, work

from quantctl.allocation import min_cvar
from quantctl.steps.l4_allocation.kernels.engine import NATIVE, Engine, reference_engine


def solver(name: str, engine: Engine) -> Method:
    """min_cvar with the rungs of `engine`."""

    def prepare(case: Case) -> Call:
        problem = case.problem()
        return lambda: min_cvar(problem, case.returns, peers.CVAR_LEVEL, engine)

    return Method(name, prepare, weights)


def kernel() -> Kernel:
    """The claim."""
    asked = rivals(
        skfolio=peers.skfolio_cvar,
        riskfolio=peers.riskfolio_classic("MinRisk", "CVaR"),
        pypfopt=peers.pypfopt_cvar,
    )
    return Kernel(
        "mincvar", "LS", solver("ours", NATIVE), grades.min_cvar, asked,
        solver("reference", reference_engine()), gap=grades.GAP_CVAR, work=work, construction=built(),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(kernel()))
