"""minvar_lo, minvar_ls, minvar_warm: minimum variance, cold and from the window before."""

from __future__ import annotations

import sys
from dataclasses import replace

import grades
import peers
from allocation_data import Case, Side, adversarial, consecutive
from contest import Kernel, Method
from lines import main
from measuring import Call
from ours import built, method, rivals, weights, work

from quantctl.allocation import Problem, Result, min_variance
from quantctl.steps.l4_allocation.kernels.engine import reference_engine


def reference(problem: Problem) -> Result:
    """The readable formulation."""
    return min_variance(problem, reference_engine())


def cold(claim: str, side: Side) -> Kernel:
    """From nothing."""
    asked = rivals(
        skfolio=peers.skfolio_mean_risk("MINIMIZE_RISK"),
        riskfolio=peers.riskfolio_classic("MinRisk"),
        pypfopt=peers.pypfopt_min_variance,
    )
    return Kernel(
        claim, side, method(min_variance), grades.min_variance, asked, method(reference, name="reference"),
        work=work, construction=built(),
    )  # fmt: skip


def warm() -> Kernel:
    """From the weights of the window 21 bars earlier; no peer is asked, since none has such a start."""

    def prepare(case: Case) -> Call:
        assert case.before is not None
        start = min_variance(case.before.problem()).weights
        problem = case.problem()
        return lambda: min_variance(problem, start=start)

    return replace(
        cold("minvar_warm", "LO"), ours=Method("ours", prepare, weights), rivals={}, cold=False,
        cases=consecutive, hard=lambda size, side: adversarial(size, side, before=True),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(cold("minvar_lo", "LO"), cold("minvar_ls", "LS"), warm()))
