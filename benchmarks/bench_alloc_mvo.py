"""mvo: mean-variance utility with L2 and turnover, from equal weights before."""

from __future__ import annotations

import sys
from typing import Any

import grades
import peers
from allocation_data import Case
from contest import Kernel
from lines import main
from ours import built, method, rivals, work

from quantctl.allocation import Problem, Result, mean_variance
from quantctl.steps.l4_allocation.kernels.engine import reference_engine


def fields(case: Case) -> dict[str, Any]:
    """Penalties and previous weights."""
    return {"l2": peers.MVO_RIDGE, "turnover": peers.MVO_TURNOVER, "w_prev": case.previous}


def native(problem: Problem) -> Result:
    """Our kernel at the benchmark's risk aversion."""
    return mean_variance(problem, peers.MVO_AVERSION)


def reference(problem: Problem) -> Result:
    """The readable formulation."""
    return mean_variance(problem, peers.MVO_AVERSION, reference_engine())


def kernel() -> Kernel:
    """The claim."""
    return Kernel(
        "mvo", "LS", method(native, fields), grades.mean_variance,
        rivals(skfolio=peers.skfolio_mvo, pypfopt=peers.pypfopt_mvo),
        method(reference, fields, "reference"), work=work, construction=built(fields),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(kernel()))
