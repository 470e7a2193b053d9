"""reference: our native kernels against our own readable formulations, N = 200, compiled once, re-solved."""

from __future__ import annotations

import sys
from importlib.metadata import version

import threads  # noqa: F401  before NumPy

import goals  # isort: skip
import grades
from allocation_data import SEEDS, case
from claims import Claim, worst
from contest import Kernel, judge
from lines import told
from measuring import Call, alternate
from ours import method

from quantctl.allocation import equal_risk, max_diversification, max_sharpe, min_variance
from quantctl.steps.l4_allocation.kernels.engine import reference_engine

SIZE = 200
ROUNDS = 7
PROFILES = {
    "min_variance": (min_variance, grades.min_variance), "max_sharpe": (max_sharpe, grades.max_sharpe),
    "max_diversification": (max_diversification, grades.max_diversification),
    "equal_risk": (equal_risk, grades.equal_risk),
}  # fmt: skip


def main(*, quick: bool) -> int:
    """One line per profile; the first solve, which compiles, is not counted."""
    return worst([line(name, SEEDS[0], quick=quick) for name in PROFILES])


def line(name: str, seed: int, *, quick: bool) -> int:
    """Judge, which compiles too, then alternate."""
    solve, grade = PROFILES[name]
    given = case(SIZE, "LO", seed)
    engine = reference_engine()
    oracle = method(lambda problem: solve(problem, engine=engine), name="reference")
    judged = judge(Kernel("reference", "LO", method(solve), grade, oracle=oracle), given, {}, oracle=True)

    def native() -> Call:
        problem = given.problem()
        return lambda: solve(problem)

    def readable() -> Call:
        problem = given.problem()
        return lambda: solve(problem, engine=engine)

    spent = {} if judged.refused else alternate({"ours": native, "peer": readable}, 3 if quick else ROUNDS)
    goal, floor = goals.REFERENCE
    return Claim(
        "reference", f"{given.label} {name}", "ms CPU", _ms(spent.get("ours", [])), goal, floor,
        peer=_ms(spent.get("peer", [])), peer_version=version("cvxpy"), quality=judged.quality, cold=True,
        lower=False, refused=judged.refused, more={"n": SIZE, "variant": name, "library": "reference"},
    ).emit()  # fmt: skip


def _ms(seconds: list[float]) -> list[float]:
    return [1000 * each for each in seconds]


if __name__ == "__main__":
    sys.exit(told(lambda given: main(quick=given.quick)))
