"""Our kernels as methods of a contest: what is asked, what is read, what the trace promises.

The problem is built outside the clock, as the peers' objects are; everything derived from it lazily, the
optimality check and the record are inside. A method whose result is not OPTIMAL has no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from allocation_data import Array, Case
from contest import Kernel, Method
from grades import Grade
from measuring import Call

from quantctl.allocation import Problem, Result
from quantctl.steps.l4_allocation.kernels.engine import reference_engine

Solve = Callable[..., Result]
Pose = Callable[[Case], Problem]


def weights(result: Result) -> Array:
    """Weights of an OPTIMAL result; everything else is no answer."""
    if result.status != "OPTIMAL" or result.weights is None:
        raise RuntimeError(f"{result.status} by {[(a.rung, a.outcome, a.code) for a in result.attempts]}")
    return result.weights


def work(result: Result) -> dict[str, Any]:
    """Counters that any machine reproduces: the rung that answered, iterations, factorisations."""
    return {
        "rung": result.attempts[-1].rung,
        "iterations": sum(attempt.iterations for attempt in result.attempts),
        "factorisations": sum(attempt.factorisations for attempt in result.attempts),
    }


def solved(solve: Solve, pose: Pose, *, warm: bool = False) -> Method:
    """A profile on the native engine; `warm` starts it from the case's previous weights."""

    def prepare(case: Case) -> Call:
        problem = pose(case)
        more = {"start": case.previous} if warm else {}
        return lambda: solve(problem, **more)

    return Method("ours", prepare, weights)


def readable(solve: Solve, pose: Pose) -> Method:
    """The same profile by our readable formulation, which judges and is never charged."""

    def prepare(case: Case) -> Call:
        problem = pose(case)
        return lambda: solve(problem, engine=reference_engine())

    return Method("reference", prepare, weights)


def profile(
    claim: str, side: Any, solve: Solve, grade: Callable[[Case, Array], Grade],
    rivals: Mapping[str, Callable[[Case], Call]], *, pose: Pose = Case.problem, warm: bool = False,
    **more: Any,
) -> Kernel:  # fmt: skip
    """The claim of one solved profile against the peers named in `rivals`."""
    from peers import SETTINGS

    return Kernel(
        claim, side, solved(solve, pose, warm=warm), grade,
        {name: Method(name, make, settings=SETTINGS[name]) for name, make in rivals.items()},
        oracle=readable(solve, pose), cold=not warm, work=work,
        construction=lambda case: lambda: pose(case), **more,
    )  # fmt: skip
