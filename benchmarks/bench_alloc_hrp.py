"""hrp: hierarchical risk parity from returns to weights, single and ward linkage."""

from __future__ import annotations

import sys

import peers
from allocation_data import Case
from contest import Kernel
from grades import bisected, relative
from hierarchical import LINKAGES, Linkage, built, grade, honest_tree, ours, rival
from lines import main
from ours import work

from quantctl.allocation import Result, hrp


def kernel(linkage: Linkage) -> Kernel:
    """The claim of one linkage."""

    def promise(case: Case, result: Result) -> float:
        """Deviation from the paper's recursion on our leaf order, and of the tree's heights."""
        problem, _, heights = honest_tree(case, result, linkage)
        order = [int(name) for name in result.notes["leaf_order"]]
        if sorted(order) != list(range(problem.size)) or result.weights is None:
            return 1.0
        return max(heights, relative(result.weights, bisected(problem.cov, order)))

    asked = {
        "skfolio": rival("skfolio", peers.skfolio_hierarchical("HierarchicalRiskParity", linkage),
                         "LedoitWolf prior, its own optimal leaf order"),
        "riskfolio": rival("riskfolio", peers.riskfolio_hierarchical("HRP", linkage),
                           "method_cov=ledoit, leaf_order=False"),
        "pypfopt": rival("pypfopt", peers.pypfopt_hrp(linkage), "HRPOpt on CovarianceShrinkage.ledoit_wolf"),
    }  # fmt: skip
    return Kernel(
        "hrp", "LO", ours(hrp, linkage), grade, asked, promise=promise, work=work, variant=linkage,
        construction=built,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(*(kernel(linkage) for linkage in LINKAGES)))
