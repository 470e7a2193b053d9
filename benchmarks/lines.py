"""From judged cases to the lines of a claim: ours in Choleskys, and one line per peer.

For each N: three seeds and one adversarial case. The figure that is judged is the median over the seeds
of each seed's worse ratio; every seed and the adversarial case stand in the line.
"""

from __future__ import annotations

import argparse
import statistics
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import goals
import peers
import threads
from allocation_data import Case
from claims import Claim, worse_ratio, worst
from contest import Judgement, Kernel, Method, Plan, judge
from measuring import alternate, in_choleskys, rounds_for

Seen = Sequence[tuple[Case, Judgement]]


def main(*kernels: Kernel) -> int:
    """A benchmark file's whole story: options, lines, exit code."""
    return told(lambda given: worst([run(kernel, planned(given)) for kernel in kernels]))


def told(story: Callable[[argparse.Namespace], int]) -> int:
    """The exit code of `story` under the file's options; a benchmark that breaks ends with 70."""
    peers.quiet()
    threads.pin()
    given = options().parse_args()
    try:
        return story(given)
    except Exception as problem:
        traceback.print_exc()
        raise SystemExit(70) from problem


def options() -> argparse.ArgumentParser:
    """What every benchmark file understands."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="floors in Choleskys at N = 100 and 250")
    parser.add_argument("--full", action="store_true", help="peers at N = 1000, three seeds everywhere")
    parser.add_argument("--sizes", type=int, nargs="+", choices=goals.SIZES)
    parser.add_argument("--no-peers", action="store_true")
    return parser


def planned(given: argparse.Namespace) -> Plan:
    """The plan that the options ask for."""
    if given.quick:
        return Plan(sizes=given.sizes or (100, 250), adversarial=False, peers=False, oracle=0)
    plan = Plan(sizes=given.sizes or goals.SIZES, peers=not given.no_peers)
    return replace(plan, peer_limit=1000, single_from=1001) if given.full else plan


def run(kernel: Kernel, plan: Plan) -> int:
    """All lines of a claim; returns the exit code."""
    codes = []
    for size in plan.sizes:
        cases = [kernel.cases(size, kernel.side, seed) for seed in plan.seeds]
        if plan.adversarial:
            cases.append(kernel.hard(size, kernel.side))
        codes += measure(kernel, size, cases, plan)
    return worst(codes)


def measure(kernel: Kernel, size: int, cases: Sequence[Case], plan: Plan) -> list[int]:
    """The line in Choleskys and one line per peer."""
    seen: list[tuple[Case, Judgement]] = []
    for number, given in enumerate(cases):
        judged = judge(kernel, given, plan.rivals(kernel, size, number), oracle=size <= plan.oracle)
        if judged.refused is not None:
            return [_refusal(kernel, given, judged).emit()]
        seen.append((given, judged))
    codes = [cholesky_line(kernel, size, seen).emit()]
    if plan.asks(size):
        codes += [peer_line(kernel, size, name, seen).emit() for name in kernel.rivals]
    return codes


def _refusal(kernel: Kernel, given: Case, judged: Judgement) -> Claim:
    return Claim(
        kernel.claim, given.label, "Cholesky", (), *goals.choleskys(kernel.claim, given.size),
        quality=judged.quality, cold=kernel.cold, refused=judged.refused,
        more={"n": given.size, "variant": kernel.variant},
    )  # fmt: skip


def cholesky_line(kernel: Kernel, size: int, seen: Seen) -> Claim:
    """Ours in units of a factorisation of the same N."""
    rounds = [_in_choleskys(kernel.ours, given, judged.seconds["ours"]) for given, judged in seen]
    seeds, hard = _split(seen, [statistics.median(figures) for figures in rounds])
    more: dict[str, Any] = {"n": size, "variant": kernel.variant, "seeds": seeds, "adversarial": hard}
    if kernel.construction is not None:
        built = _in_choleskys(Method("construction", kernel.construction), seen[0][0], 0.001)
        more["construction"] = float(f"{statistics.median(built):.3g}")
    return Claim(
        kernel.claim, seen[0][0].label, "Cholesky", rounds[0], *goals.choleskys(kernel.claim, size),
        quality=_quality(seen), cold=kernel.cold, judged=statistics.median(seeds), more=more,
    )  # fmt: skip


def _in_choleskys(method: Method, given: Case, seconds: float) -> list[float]:
    return in_choleskys(lambda: method.prepare(given), given.cov, seconds)


def peer_line(kernel: Kernel, size: int, name: str, seen: Seen) -> Claim:
    """Ours and one peer in turn, on every case that the peer answered."""
    answered = [(given, judged) for given, judged in seen if name in judged.seconds]
    spent = [_in_turn(kernel, name, given, judged) for given, judged in answered]
    seeds, hard = _split(answered, [worse_ratio(each["ours"], each["peer"]) for each in spent])
    failed = {given.label: judged.failed[name] for given, judged in seen if name in judged.failed}
    goal, floor = goals.ratio(kernel.claim, name)
    return Claim(
        kernel.claim, seen[0][0].label, "ms CPU", _ms(spent, "ours"), goal, floor,
        peer=_ms(spent, "peer"), peer_version=peers.installed(name) or "missing", quality=_quality(seen),
        cold=kernel.cold, lower=False, judged=statistics.median(seeds) if seeds else None,
        refused=None if seeds else "PEER_MISSING",
        more={"n": size, "variant": kernel.variant, "library": name, "seeds": seeds, "adversarial": hard,
              "settings": kernel.rivals[name].settings, "peer_failed": failed},
    )  # fmt: skip


def _in_turn(kernel: Kernel, name: str, given: Case, judged: Judgement) -> dict[str, list[float]]:
    parties = {
        "ours": lambda: kernel.ours.prepare(given),
        "peer": lambda: kernel.rivals[name].prepare(given),
    }
    return alternate(parties, rounds_for(max(judged.seconds["ours"], judged.seconds[name])))


def _split(seen: Seen, figures: Sequence[float]) -> tuple[list[float], float | None]:
    """Figures of the seeds, and that of the adversarial case."""
    shown = [float(f"{figure:.4g}") for figure in figures]
    hard = [figure for (given, _), figure in zip(seen, shown, strict=True) if given.hard]
    benign = [figure for (given, _), figure in zip(seen, shown, strict=True) if not given.hard]
    return benign, hard[0] if hard else None


def _quality(seen: Seen) -> dict[str, Any]:
    """The first case's grades, with the worst of ours over all cases."""
    first = dict(seen[0][1].quality)
    for figure in ("violation", "error", "gap"):
        if figure in first:
            first[figure] = float(f"{max(judged.quality[figure] for _, judged in seen):.2g}")
    return first


def _ms(spent: Sequence[Mapping[str, Sequence[float]]], name: str) -> list[float]:
    return [round(1000 * seconds, 4) for seconds in spent[0][name]] if spent else []
