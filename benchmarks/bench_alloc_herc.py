"""herc: hierarchical equal risk contribution from returns to weights; riskfolio's has another definition."""

from __future__ import annotations

import sys

import peers
from allocation_data import Case
from contest import Kernel
from grades import descended, relative
from hierarchical import built, grade, honest_tree, ours, rival
from lines import main
from ours import work

from quantctl.allocation import Result, herc


def promise(case: Case, result: Result) -> float:
    """Deviation from a plain descent of our tree, and of the tree's heights."""
    problem, tree, heights = honest_tree(case, result, "ward")
    if result.weights is None:
        return 1.0
    return max(heights, relative(result.weights, descended(problem.cov, tree, int(result.notes["k"]))))


def kernel() -> Kernel:
    """The claim."""
    asked = {
        "skfolio": rival(
            "skfolio", peers.skfolio_hierarchical("HierarchicalEqualRiskContribution", "ward"),
            "LedoitWolf prior, its own optimal leaf order",
        ),
        "riskfolio": rival(
            "riskfolio", peers.riskfolio_hierarchical("HERC", "ward"), "method_cov=ledoit, leaf_order=False"
        ),
    }  # fmt: skip
    return Kernel(
        "herc", "LO", ours(herc, "ward"), grade, asked, promise=promise, work=work, construction=built
    )


if __name__ == "__main__":
    sys.exit(main(kernel()))
