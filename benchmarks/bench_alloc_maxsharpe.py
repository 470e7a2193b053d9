"""maxsharpe: the ratio with its beta row, cold and from the window before."""

from __future__ import annotations

import sys
from dataclasses import replace

import grades
import peers
from allocation_data import Case, adversarial, consecutive
from contest import Kernel, Method
from lines import main
from measuring import Call
from ours import built, method, rivals, weights, work

from quantctl.allocation import Problem, Result, max_sharpe
from quantctl.steps.l4_allocation.kernels.engine import reference_engine


def reference(problem: Problem) -> Result:
    """The readable formulation."""
    return max_sharpe(problem, reference_engine())


def cold() -> Kernel:
    """From nothing."""
    asked = rivals(
        skfolio=peers.skfolio_mean_risk("MAXIMIZE_RATIO"),
        riskfolio=peers.riskfolio_classic("Sharpe"),
        pypfopt=peers.pypfopt_max_sharpe,
    )
    return Kernel(
        "maxsharpe", "LS", method(max_sharpe), grades.max_sharpe, asked, method(reference, name="reference"),
        work=work, construction=built(),
    )  # fmt: skip


def warm() -> Kernel:
    """From the weights of the window 21 bars earlier; no peer is asked, since none has such a start."""

    def prepare(case: Case) -> Call:
        assert case.before is not None
        start = max_sharpe(case.before.problem()).weights
        problem = case.problem()
        return lambda: max_sharpe(problem, start=start)

    return replace(
        cold(), claim="maxsharpe_warm", ours=Method("ours", prepare, weights), rivals={}, cold=False,
        cases=consecutive, hard=lambda size, side: adversarial(size, side, before=True),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(cold(), warm()))
