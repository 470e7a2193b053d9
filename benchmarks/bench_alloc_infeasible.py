"""infeasible: certificate, irreducible conflict and nearest tolerance, N = 200, in Choleskys.

Long only with a beta of every stream above the tolerance; the second workload has overlapping groups, which
take the way through linear programs. Proof, irreducibility and nearest value are judged by SciPy's HiGHS.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import threads  # noqa: F401  before NumPy

import numpy as np  # isort: skip
import goals
from allocation_data import SEEDS, Case, case
from claims import Claim, worst
from lines import told
from measuring import Call, in_choleskys, timed

from quantctl.allocation import Group, Problem, explain_infeasibility
from quantctl.steps.l4_allocation.kernels.certificate import inequalities

SIZE = 200
CLOSE = 1e-6


def pose(given: Case, *, overlapping: bool) -> Problem:
    """A problem that admits nobody."""
    halves = (np.arange(SIZE) % 2 == 0, np.arange(SIZE) % 3 == 0)
    more = tuple(Group(f"o{k}", members, max=0.9) for k, members in enumerate(halves)) if overlapping else ()
    problem = given.problem()
    return replace(problem, groups=problem.groups + more)


def feasible(problem: Problem, kept: set[str]) -> bool:
    """Whether the inequalities of the names in `kept`, and the budget if named, have a point."""
    from scipy.optimize import linprog

    names, matrix, limit = inequalities(problem)
    rows = np.array([name in kept for name in names])
    budget = {"A_eq": np.ones((1, SIZE)), "b_eq": [1.0]} if "budget" in kept else {}
    found = linprog(np.zeros(SIZE), matrix[rows], limit[rows], bounds=(None, None), method="highs", **budget)
    return bool(found.status == 0)


def nearest_beta(problem: Problem) -> float:
    """The least tolerance of |β'w| that admits somebody."""
    from scipy.optimize import linprog

    names, matrix, limit = inequalities(problem)
    slack = np.array([-1.0 if name.startswith("beta") else 0.0 for name in names])
    limit = np.where(slack < 0.0, 0.0, limit)
    found = linprog(
        np.r_[np.zeros(SIZE), 1.0], np.column_stack([matrix, slack]), limit,
        np.r_[np.ones(SIZE), 0.0][None, :], [1.0], bounds=(None, None), method="highs",
    )  # fmt: skip
    return float(found.fun)


def judged(problem: Problem, answer: dict[str, Any]) -> dict[str, Any]:
    """What is wrong with a certificate: nothing, if it is good."""
    conflict = set(answer["conflicting"])
    names, matrix, limit = inequalities(problem)
    y = np.array([answer["multipliers"].get(name, 0.0) for name in names])
    budget = answer["multipliers"]["budget"]
    told = next(entry["feasible"] for entry in answer["nearest"] if entry["family"] == "beta")
    return {
        "residual": float(np.abs(matrix.T @ y + budget).max() / max(np.abs(y).max(), abs(budget))),
        "proof": bool(y.min() >= 0.0 and limit @ y + budget < 0.0),
        "irreducible": not feasible(problem, conflict)
        and all(feasible(problem, conflict - {name}) for name in conflict),
        "nearest_error": abs(told - nearest_beta(problem)), "rows": len(conflict),
    }  # fmt: skip


def good(quality: dict[str, Any]) -> bool:
    """Whether the certificate proves, is irreducible and names the nearest tolerance."""
    sound = quality["proof"] and quality["irreducible"] and quality["residual"] <= 1e-8
    return bool(sound and quality["nearest_error"] <= CLOSE)


def line(*, overlapping: bool) -> int:
    """Judge, then measure."""
    given = replace(case(SIZE, "LO", SEEDS[0]), tolerance=0.15)
    problem = pose(given, overlapping=overlapping)

    def prepare() -> Call:
        fresh = pose(given, overlapping=overlapping)
        return lambda: explain_infeasibility(fresh)

    seconds, answer = timed(prepare())
    quality = judged(problem, answer)
    figures = in_choleskys(prepare, given.cov, seconds) if good(quality) else []
    groups = "overlapping groups" if overlapping else "disjoint groups"
    return Claim(
        "infeasible", f"{given.label} {groups}", "Cholesky", figures, *goals.INFEASIBLE, quality=quality,
        cold=True, refused=None if figures else "BENCH_QUALITY", more={"n": SIZE, "variant": groups},
    ).emit()  # fmt: skip


if __name__ == "__main__":
    sys.exit(told(lambda _: worst([line(overlapping=False), line(overlapping=True)])))
