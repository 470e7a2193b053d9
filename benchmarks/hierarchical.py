"""HRP and HERC end to end, from returns to weights: estimate, conditioning, problem, tree, weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import peers
from allocation_data import KAPPA, PER_YEAR, Array, Case
from contest import Method
from grades import Grade, relative, simplex
from measuring import Call
from ours import weights

from quantctl.allocation import Problem, Result, condition_correlation, estimate_covariance
from quantctl.contracts.settings.allocation import HrpSettings

Linkage = Literal["single", "ward"]
LINKAGES: tuple[Linkage, ...] = ("single", "ward")
Hierarchical = Callable[[Problem, HrpSettings], Result]


def problem_of(returns: Array) -> Problem:
    """The risk model of the product with default bounds: conditioning and validation stay in."""
    estimate = estimate_covariance(returns)
    corr = condition_correlation(estimate.corr, KAPPA).corr
    return Problem(PER_YEAR * corr * np.outer(estimate.vol, estimate.vol))


def returns(case: Case) -> tuple[Array, ...]:
    """All that anybody is given."""
    return (case.returns,)


def ours(solve: Hierarchical, linkage: Linkage) -> Method:
    """From returns to a result."""
    options = HrpSettings(linkage=linkage)

    def prepare(case: Case) -> Call:
        return lambda: solve(problem_of(case.returns), options)

    return Method("ours", prepare, weights, inputs=returns)


def built(case: Case) -> Call:
    """The validation of the problem alone, part of the end-to-end figure."""
    return lambda: Problem(case.cov)


def rival(name: str, prepare: peers.Prepare, settings: str) -> Method:
    """A peer that estimates from returns too."""
    return Method(name, prepare, settings=settings, inputs=returns)


def grade(_: Case, answer: Array) -> Grade:
    """A hierarchy has no objective: only the simplex."""
    return Grade(None, simplex(answer))


def honest_tree(case: Case, result: Result, linkage: Linkage) -> tuple[Problem, Array, float]:
    """The problem again, the tree of the result, and its heights' deviation from SciPy's."""
    from scipy.cluster import hierarchy

    problem = problem_of(case.returns)
    vol = np.sqrt(np.diag(problem.cov))
    distance = np.sqrt(np.clip((1.0 - problem.cov / np.outer(vol, vol)) / 2.0, 0.0, 1.0))
    condensed = distance[np.triu_indices(problem.size, 1)]
    merged = hierarchy.linkage(condensed, method=linkage)
    tree: Any = np.array(result.notes["linkage"])
    return problem, tree, relative(np.sort(tree[:, 2]), np.sort(merged[:, 2]))
