"""erc_lo, erc_ls: equal risk contribution under caps and group rows; a beta row is refused by the profile."""

from __future__ import annotations

import sys

import grades
import peers
from allocation_data import Case, Side, adversarial, case
from contest import Kernel
from lines import main
from ours import built, method, rivals, work

from quantctl.allocation import equal_risk


def kernel(claim: str, side: Side) -> Kernel:
    """The claim of one side."""

    def cases(size: int, which: Side, seed: int) -> Case:
        return case(size, which, seed).without_beta()

    return Kernel(
        claim, side, method(equal_risk), grades.equal_risk,
        rivals(skfolio=peers.skfolio_erc, riskfolio=peers.riskfolio_erc),
        work=work, construction=built(), cases=cases,
        hard=lambda size, which: adversarial(size, which).without_beta(),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(kernel("erc_lo", "LO"), kernel("erc_ls", "LS")))
