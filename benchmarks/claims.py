"""The form of a claim: one JSON line, honest about the machine, judged against goal and floor."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXIT = {"GOAL": 0, "FLOOR": 0, "FAIL": 1, "PEER_MISSING": 3}


@dataclass(frozen=True)
class Claim:
    """What was measured. `lower` says that less is better (seconds); ratios want more."""

    claim: str
    workload: str
    unit: str
    ours: Sequence[float]
    goal: float
    floor: float
    peer: Sequence[float] | None = None
    peer_version: str | None = None
    quality: dict[str, Any] = field(default_factory=dict)
    cold: bool = False
    lower: bool = True

    @property
    def value(self) -> float:
        """The figure that is judged: the median of ours, or the ratio of medians peer / ours."""
        ours = statistics.median(self.ours)
        return ours if self.peer is None else statistics.median(self.peer) / ours

    @property
    def verdict(self) -> str:
        """GOAL, FLOOR or FAIL."""
        better = (lambda limit: self.value <= limit) if self.lower else (lambda limit: self.value >= limit)
        return "GOAL" if better(self.goal) else "FLOOR" if better(self.floor) else "FAIL"

    def emit(self) -> int:
        """Print the JSON line; returns the exit code of the verdict."""
        print(json.dumps({
            "claim": self.claim, "workload": self.workload, "unit": self.unit,
            "ours": round(statistics.median(self.ours), 4),
            "peer": None if self.peer is None else round(statistics.median(self.peer), 4),
            "peer_version": self.peer_version,
            "ratio": None if self.peer is None else round(self.value, 2), "goal": self.goal,
            "floor": self.floor, "verdict": self.verdict, "quality": self.quality,
            "repeats": len(self.ours), "spread": [round(min(self.ours), 4), round(max(self.ours), 4)],
            "load1": round(os.getloadavg()[0], 2), "cpu_model": cpu_model(), "threads": 1,
            "versions": {"python": platform.python_version()}, "cold": self.cold,
        }))  # fmt: skip
        return EXIT[self.verdict]


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
