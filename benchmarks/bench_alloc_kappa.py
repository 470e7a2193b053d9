"""kappa: conditioning of a correlation in closed form, from its extreme eigenvalues."""

from __future__ import annotations

import sys

import numpy as np
from allocation_data import KAPPA, Array, Case
from contest import Kernel, Method
from grades import Grade
from lines import main
from measuring import Call

from quantctl.allocation import Conditioned, condition_correlation, estimate_covariance


def prepare(case: Case) -> Call:
    """Condition the raw correlation of the case's returns."""
    corr = raw(case)
    return lambda: condition_correlation(corr, KAPPA)


def raw(case: Case) -> Array:
    """The estimate before conditioning; T < N in the adversarial case makes it badly conditioned."""
    return estimate_covariance(case.returns).corr


def bound(case: Case, answer: Conditioned) -> float:
    """0 where κ < K by a dense decomposition and a is minimal: a little less breaks the bound."""
    del case
    values = np.linalg.eigvalsh(answer.corr)
    if not values[-1] < KAPPA * values[0]:
        return 1.0
    if answer.intensity == 0.0:
        return 0.0
    return abs(float(values[-1] / values[0]) / KAPPA - 1.0)


def kernel() -> Kernel:
    """The claim."""
    return Kernel(
        "kappa", "LO", Method("ours", prepare, lambda answer: answer.corr),
        lambda _, corr: Grade(None, 0.0, float(np.abs(np.diag(corr) - 1.0).max())), promise=bound,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(kernel()))
