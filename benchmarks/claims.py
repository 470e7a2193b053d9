"""The form of a claim: one JSON line, honest about the machine, judged against goal and floor.

Exit codes: 0 floors held; 1 `PERF_FLOOR` or `BENCH_QUALITY`; 3 `PEER_MISSING` or `BENCH_QUALITY_INPUT`;
70 a benchmark that broke.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Code = Literal["PERF_FLOOR", "BENCH_QUALITY", "BENCH_QUALITY_INPUT", "PEER_MISSING"]
EXIT = {"PERF_FLOOR": 1, "BENCH_QUALITY": 1, "BENCH_QUALITY_INPUT": 3, "PEER_MISSING": 3}


@dataclass(frozen=True)
class Claim:
    """What was measured. `lower` says that less is better (seconds, Choleskys); ratios want more.

    ours, peer : one figure per round, in `unit`
    goal, floor : null where the peer has another definition: timed, not compared
    judged : the figure that goal and floor are held against, where it is not the median of `ours` or the
        ratio of medians: then the caller has it from several seeds
    refused : why there is no figure to judge: a wrong answer, unequal inputs, no peer
    more : further fields of the line
    """

    claim: str
    workload: str
    unit: str
    ours: Sequence[float]
    goal: float | None
    floor: float | None
    peer: Sequence[float] | None = None
    peer_version: str | None = None
    quality: dict[str, Any] = field(default_factory=dict)
    cold: bool = False
    lower: bool = True
    judged: float | None = None
    refused: Code | None = None
    versions: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> float | None:
        """The figure that is judged; null where it was refused."""
        if self.judged is not None or not self.ours:
            return self.judged
        if self.peer is None:
            return statistics.median(self.ours)
        return worse_ratio(self.ours, self.peer)

    @property
    def verdict(self) -> str | None:
        """GOAL, FLOOR, FAIL or PEER_MISSING; null where nothing is compared."""
        if self.refused is not None:
            return "PEER_MISSING" if self.refused == "PEER_MISSING" else "FAIL"
        if self.goal is None or self.floor is None:
            return None
        if self.value is None:
            return "FAIL"
        sign = 1.0 if self.lower else -1.0
        if sign * self.value <= sign * self.goal:
            return "GOAL"
        return "FLOOR" if sign * self.value <= sign * self.floor else "FAIL"

    @property
    def code(self) -> Code | None:
        """Why the verdict is bad; null where the floor held."""
        return self.refused or ("PERF_FLOOR" if self.verdict == "FAIL" else None)

    def line(self) -> dict[str, Any]:
        """The claim as it is printed."""
        compared = self.peer is not None or self.peer_version is not None
        return {
            "claim": self.claim, "workload": self.workload, "unit": self.unit,
            "ours": _middle(self.ours), "peer": _middle(self.peer or ()), "peer_version": self.peer_version,
            "ratio": _rounded(self.value) if compared else None, "goal": self.goal, "floor": self.floor,
            "verdict": self.verdict, "code": self.code, "quality": self.quality,
            "repeats": len(self.ours), "spread": quartiles(self.ours),
            "load1": round(os.getloadavg()[0], 2), "cpu_model": cpu_model(), "threads": 1,
            "versions": {"python": platform.python_version()} | self.versions, "cold": self.cold,
        } | self.more  # fmt: skip

    def emit(self) -> int:
        """Print the JSON line; returns the exit code of the verdict."""
        print(json.dumps(self.line()), flush=True)
        return EXIT[self.code] if self.code else 0


def worst(codes: Iterable[int]) -> int:
    """The exit code of several claims: broken before failed before missing."""
    given = set(codes)
    return next((code for code in (70, 1, 3) if code in given), 0)


def worse_ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """peer / ours: the smaller of the ratio of medians and the median of paired ratios."""
    paired = statistics.median(theirs / mine for mine, theirs in zip(ours, peer, strict=True))
    return min(paired, statistics.median(peer) / statistics.median(ours))


def quartiles(figures: Sequence[float]) -> list[float]:
    """First and third quartile."""
    if len(figures) < 2:
        return [round(figure, 6) for figure in figures] * 2
    cuts = statistics.quantiles(figures, n=4, method="inclusive")
    return [round(cuts[0], 6), round(cuts[2], 6)]


def _middle(figures: Sequence[float]) -> float | None:
    return round(statistics.median(figures), 6) if figures else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def cpu_model() -> str:
    """Name of the processor."""
    try:
        with Path("/proc/cpuinfo").open() as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
