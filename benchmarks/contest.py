"""Who answers which case, and whether the answers are good: judged before anything is timed.

A wrong answer of ours is `BENCH_QUALITY` and is not timed. A peer's wrong answer is timed and its
deviation printed; a peer that finds none is named. Unequal inputs refuse the case: `BENCH_QUALITY_INPUT`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import goals
import numpy as np
import peers
from allocation_data import SEEDS, Case, Side, adversarial, case, digest
from claims import Code
from grades import ERROR, GAP, VIOLATION, Grade
from measuring import Array, Call, timed


@dataclass(frozen=True)
class Method:
    """Someone who answers a case: `prepare` works outside the clock, the call inside.

    read : the answer as an array;  settings : how it is asked;  inputs : what it was given, hashed
    """

    name: str
    prepare: Callable[[Case], Call]
    read: Callable[[Any], Array] = np.asarray
    settings: str = ""
    inputs: Callable[[Case], tuple[Array, ...]] = lambda case: (case.cov, case.mu, case.returns)


@dataclass(frozen=True)
class Kernel:
    """One claim: our method, who else answers, and how answers are graded.

    grade : from case and the array of an answer;  gap : tolerated excess over the best objective
    promise : error of our answer, trace included, beyond what its array shows
    work : counters of our answer that any machine reproduces
    construction : what precedes a kernel, validation included, timed beside it
    """

    claim: str
    side: Side
    ours: Method
    grade: Callable[[Case, Array], Grade]
    rivals: Mapping[str, Method] = field(default_factory=dict)
    oracle: Method | None = None
    gap: float = GAP
    variant: str = ""
    cold: bool = True
    promise: Callable[[Case, Any], float] = lambda *_: 0.0
    work: Callable[[Any], dict[str, Any]] = lambda _: {}
    construction: Callable[[Case], Call] | None = None
    cases: Callable[[int, Side, int], Case] = case
    hard: Callable[[int, Side], Case] = adversarial


@dataclass(frozen=True)
class Judgement:
    """Answers of one case before any timing: who differs by how much, and what refuses the case."""

    quality: dict[str, Any]
    seconds: dict[str, float]
    failed: dict[str, str]
    refused: Code | None


def judge(kernel: Kernel, given: Case, rivals: Mapping[str, Method], *, oracle: bool = False) -> Judgement:
    """Ask everybody once, compare inputs, grade answers; `oracle`: the readable formulation too."""
    sealed = digest(kernel.ours.inputs(given))
    asked = {"ours": kernel.ours, **rivals}
    if oracle and kernel.oracle is not None:
        asked["reference"] = kernel.oracle
    unequal = [name for name, m in asked.items() if digest(m.inputs(given)) != sealed]
    quality: dict[str, Any] = {"inputs": sealed}
    if unequal:
        return Judgement(quality | {"unequal_inputs": unequal}, {}, {}, "BENCH_QUALITY_INPUT")
    grades: dict[str, Grade] = {}
    seconds, failed = {}, {}
    for name, method in asked.items():
        try:
            seconds[name], answer = timed(method.prepare(given))
            grades[name] = kernel.grade(given, method.read(answer))
        except Exception as problem:
            if name == "ours":
                raise
            failed[name] = f"{type(problem).__name__}: {problem}"[:120]
            continue
        if name == "ours":
            quality["work"] = kernel.work(answer)
            grades[name] = _held(grades[name], kernel.promise(given, answer))
    return _graded(kernel, grades, quality, seconds, failed)


def _held(grade: Grade, error: float) -> Grade:
    return grade._replace(error=max(grade.error, error))


def _graded(
    kernel: Kernel, grades: Mapping[str, Grade], quality: dict[str, Any], seconds: dict[str, float],
    failed: dict[str, str],
) -> Judgement:  # fmt: skip
    ours = grades["ours"]
    feasible = [g.objective for g in grades.values() if g.objective is not None and g.violation <= VIOLATION]
    best = min(feasible, default=None)
    quality |= {"violation": ours.violation, "error": ours.error}
    good = ours.violation <= VIOLATION and ours.error <= ERROR
    if ours.objective is not None:
        best = ours.objective if best is None else best
        quality["gap"] = _excess(ours.objective, best)
        good = good and quality["gap"] <= kernel.gap
    quality["peers"] = {name: _deviation(grade, best) for name, grade in grades.items() if name != "ours"}
    return Judgement(quality, seconds, failed, None if good else "BENCH_QUALITY")


def _excess(objective: float, best: float) -> float:
    return max(0.0, (objective - best) / max(abs(best), 1e-300))


def _deviation(grade: Grade, best: float | None) -> dict[str, float]:
    shown = {"violation": float(f"{grade.violation:.2g}"), "error": float(f"{grade.error:.2g}")}
    if grade.objective is not None and best is not None:
        shown["gap"] = float(f"{(grade.objective - best) / max(abs(best), 1e-300):.2g}")
    return shown


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    peer_limit : largest N at which peers are asked;  single_from : from this N on with the first seed only
    oracle : up to this N the readable formulation also looks for a better answer
    """

    sizes: Sequence[int] = goals.SIZES
    seeds: Sequence[int] = SEEDS
    adversarial: bool = True
    peers: bool = True
    peer_limit: int = 500
    single_from: int = 500
    oracle: int = 250

    def asks(self, size: int) -> bool:
        """Whether peers are asked at this N."""
        return self.peers and goals.RATIOS_FROM <= size <= self.peer_limit

    def rivals(self, kernel: Kernel, size: int, number: int) -> dict[str, Method]:
        """Peers that answer the case of this number."""
        if not self.asks(size) or (number > 0 and size >= self.single_from):
            return {}
        return {name: method for name, method in kernel.rivals.items() if peers.installed(name)}
