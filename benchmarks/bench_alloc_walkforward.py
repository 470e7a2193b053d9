"""walkforward: 60 windows x 5 profiles, N = 200, T = 500, step 21, covariance included, against skfolio.

Both estimate Ledoit–Wolf once per window and hand it to their five profiles. A round is a window, ours and
the peer in turn; the figure is the smaller of total CPU over total CPU and the worse ratio over windows.
Ours starts a window from the one before; the lines with `cold` do not.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import threads

import numpy as np  # isort: skip
import goals
import grades
import peers
from allocation_data import PER_YEAR, SEEDS, Array, Case, case, market
from claims import Claim, Code, worse_ratio, worst
from lines import told
from measuring import timed
from ours import weights

from quantctl.allocation import (
    Problem,
    equal_risk,
    estimate_covariance,
    hrp,
    max_diversification,
    max_sharpe,
    min_variance,
)  # fmt: skip

SIZE, WINDOW, STEP, WINDOWS = 200, 500, 21, 60
WARM = {"min_variance": min_variance, "max_sharpe": max_sharpe, "max_diversification": max_diversification}
PROFILES = (*WARM, "equal_risk", "hrp")
GRADES: dict[str, Callable[[Case, Array], grades.Grade]] = {
    "min_variance": grades.min_variance, "max_sharpe": grades.max_sharpe,
    "max_diversification": grades.max_diversification, "equal_risk": grades.equal_risk,
    "hrp": lambda _, answer: grades.Grade(None, grades.simplex(answer)),
}  # fmt: skip
Window = dict[str, float]


def windows(count: int) -> Iterator[Case]:
    """Consecutive windows of one market, long only."""
    streams, _ = market(SIZE, WINDOW + STEP * (count - 1), SEEDS[0], "LO")
    shape = case(SIZE, "LO", SEEDS[0])
    for k in range(count):
        returns = np.ascontiguousarray(streams[STEP * k : STEP * k + WINDOW])
        cov = PER_YEAR * estimate_covariance(returns).cov
        yield replace(
            shape, label=f"window {k}", returns=returns, cov=cov, mu=PER_YEAR * returns.mean(axis=0)
        )


def ours(given: Case, before: dict[str, Array]) -> tuple[Window, dict[str, Array]]:
    """CPU per part and answers; `before` : weights to start from, empty for a cold window."""
    seconds, cov = timed(lambda: PER_YEAR * estimate_covariance(given.returns).cov)
    spent, answers = {"covariance": seconds}, {}
    posed = replace(given, cov=cov)
    calls: dict[str, Callable[[], Any]] = {
        name: lambda solve=solve, name=name: solve(posed.problem(), start=before.get(name))
        for name, solve in WARM.items()
    } | {"equal_risk": lambda: equal_risk(posed.problem()), "hrp": lambda: hrp(Problem(cov))}
    for name, call in calls.items():
        spent[name], result = timed(call)
        answers[name] = weights(result)
    return spent, answers


def theirs(given: Case) -> tuple[Window, dict[str, Array]]:
    """The same by skfolio, whose models receive its own estimate."""
    estimate = peers.skfolio_covariance("ledoit_wolf")(given)
    seconds, cov = timed(lambda: PER_YEAR * estimate())
    posed = replace(given, cov=cov)
    spent, answers = {"covariance": seconds}, {}
    makers = {
        "min_variance": peers.skfolio_mean_risk("MINIMIZE_RISK"),
        "max_sharpe": peers.skfolio_mean_risk("MAXIMIZE_RATIO"),
        "max_diversification": peers.skfolio_max_diversification, "equal_risk": peers.skfolio_erc,
        "hrp": peers.skfolio_given_hrp,
    }  # fmt: skip
    for name, make in makers.items():
        spent[name], answers[name] = timed(make(posed))
    return spent, answers


def main(*, quick: bool) -> int:
    """Walk both, judge every window, print the total, cold and per profile."""
    threads.verified()
    missing = peers.installed("skfolio") is None
    count, before = (4 if quick else WINDOWS), dict[str, Array]()
    mine, cold, peer = list[Window](), list[Window](), list[Window]()
    quality = dict.fromkeys(("violation", "error", "gap", "warm_differs"), 0.0)
    # One window of each is not counted: first imports.
    first = next(windows(1))
    _ = ours(first, {}), (None if missing else theirs(first))
    for given in windows(count):
        spent, answers = ours(given, before)
        spent_cold, answers_cold = ours(given, {})
        spent_peer, other = ({}, {}) if missing else theirs(given)
        mine, cold, peer = [*mine, spent], [*cold, spent_cold], [*peer, spent_peer]
        _judge(given, answers, answers_cold, other, quality)
        before = answers
    threads.verified()
    good = quality["violation"] <= grades.VIOLATION and quality["error"] <= grades.ERROR
    good = good and quality["gap"] <= grades.GAP
    refused: Code | None = "PEER_MISSING" if missing else None if good else "BENCH_QUALITY"
    codes = [
        _line("total", mine, peer, quality, refused),
        _line("total", cold, peer, quality, refused, cold=True),
    ]
    codes += [_line(part, mine, peer, quality, refused, part=part) for part in mine[0]]
    return worst(codes)


def _judge(
    given: Case, answers: dict[str, Array], cold: dict[str, Array], other: dict[str, Array],
    quality: dict[str, float],
) -> None:  # fmt: skip
    """Widen `quality` by the worst of one window: ours against the best of both."""
    for name, answer in answers.items():
        grade = GRADES[name](given, answer)
        rival = GRADES[name](given, other[name]) if name in other else grade
        found = {"violation": grade.violation, "error": grade.error}
        found["warm_differs"] = float(np.abs(answer - cold[name]).max())
        if (
            grade.objective is not None
            and rival.objective is not None
            and rival.violation <= grades.VIOLATION
        ):
            found["gap"] = (grade.objective - rival.objective) / abs(rival.objective)
        for figure, value in found.items():
            quality[figure] = max(quality[figure], value)


def _line(
    variant: str, mine: list[Window], peer: list[Window], quality: dict[str, float], refused: Code | None,
    *, part: str | None = None, cold: bool = False,
) -> int:  # fmt: skip
    """One line: all parts, which is the claim, or one part, which is printed without goal."""
    a, b = ([sum(w.values()) if part is None else w.get(part, 0.0) for w in each] for each in (mine, peer))
    judged = None if refused else min(sum(b) / sum(a), worse_ratio(a, b))
    goal, floor = goals.WALKFORWARD if part is None else (None, None)
    return Claim(
        "walkforward", f"{len(mine)} windows x 5 profiles, N={SIZE}, T={WINDOW}, step {STEP}",
        "ms CPU per window", [1000 * each for each in a], goal, floor, peer=[1000 * each for each in b],
        peer_version=peers.installed("skfolio") or "missing", quality=quality, cold=cold, lower=False,
        judged=judged, refused=refused, more={
            "n": SIZE, "variant": variant + (" cold" if cold else ""), "library": "skfolio",
            "seconds": [round(sum(a), 3), round(sum(b), 3)],
            "slowest_window_ms": round(1000 * max(a), 2), "typical_ms": round(1000 * statistics.median(a), 2),
        },
    ).emit()  # fmt: skip


if __name__ == "__main__":
    sys.exit(told(lambda given: main(quick=given.quick)))
