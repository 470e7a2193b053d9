"""Our kernels as methods of a contest: the problem is built and validated outside the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import peers
from allocation_data import Array, Case
from contest import Method
from measuring import Call

from quantctl.allocation import Problem, Result

Solve = Callable[[Problem], Result]
Fields = Callable[[Case], dict[str, Any]]


def nothing(_: Case) -> dict[str, Any]:
    """No field beside the case's own."""
    return {}


def method(solve: Solve, fields: Fields = nothing, name: str = "ours") -> Method:
    """`solve` on a fresh problem of the case with further `fields`."""

    def prepare(case: Case) -> Call:
        problem = case.problem(**fields(case))
        return lambda: solve(problem)

    return Method(name, prepare, weights)


def built(fields: Fields = nothing) -> Callable[[Case], Call]:
    """The construction of the problem by itself."""
    return lambda case: lambda: case.problem(**fields(case))


def weights(result: Result) -> Array:
    """Weights of a result; not a number where it has none, which no grade accepts."""
    return np.array([np.nan]) if result.weights is None else result.weights


def work(result: Result) -> dict[str, Any]:
    """Counters of all attempts, and the rung that ended the climb."""
    return {
        "rung": result.attempts[-1].rung if result.attempts else None,
        "iterations": sum(attempt.iterations for attempt in result.attempts),
        "factorisations": sum(attempt.factorisations for attempt in result.attempts),
        "status": result.status,
    }


def rivals(**prepared: peers.Prepare) -> Mapping[str, Method]:
    """Peers by library, with the settings that all their profiles share."""
    return {name: Method(name, each, settings=peers.SETTINGS[name]) for name, each in prepared.items()}
