"""maxdiv: maximum diversification over the rows of LS, beta row included."""

from __future__ import annotations

import sys

import grades
import peers
from contest import Kernel
from lines import main
from ours import built, method, rivals, work

from quantctl.allocation import Problem, Result, max_diversification
from quantctl.steps.l4_allocation.kernels.engine import reference_engine


def reference(problem: Problem) -> Result:
    """The readable formulation."""
    return max_diversification(problem, reference_engine())


def kernel() -> Kernel:
    """The claim."""
    return Kernel(
        "maxdiv", "LS", method(max_diversification), grades.max_diversification,
        rivals(skfolio=peers.skfolio_max_diversification), method(reference, name="reference"),
        work=work, construction=built(),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(kernel()))
