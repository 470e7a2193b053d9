"""One trial: a scenario killed in life after life until it ends, then held to its reference."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from harness.bystanders import Bystanders
from harness.evidence import Found, compare, consistent, gather
from harness.lives import Ended
from harness.market import Ground
from harness.scenarios import Course

Fuse = dict[str, Any]
STARTING = "interpreter start"


@dataclass
class Tally:
    """Counts of a campaign.

    kills : (scenario, state, kind, point) -> number; `kind` is how the kill was chosen
    """

    kills: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    trials: int = 0
    resumes: int = 0
    reads: Counter[str] = field(default_factory=Counter)
    reader_errors: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0
    found: Found = field(default_factory=Found)
    failures: list[str] = field(default_factory=list)


@dataclass
class Trial:
    """Lives of one scenario on one ground.

    watched : a stock DuckDB, `quantctl sql` and `status --follow` read beside it
    """

    course: Course
    state: str
    tally: Tally
    watched: bool = False

    def run(self, fuses: Iterator[Fuse]) -> Found:
        """Kill as `fuses` say, one life each, until the scenario ends or they do; then compare."""
        ground = self.course.ground(self.state)
        scenario, found, told = self.course.scenario, Found(), []
        with Bystanders(ground, scenario.run_id, self.tally, self.watched):
            while True:
                fuse = next(fuses, {})
                ended = self._life(ground, fuse)
                told.append((fuse, ended.trace[-1:], ended.code))
                if not ended.killed:
                    break
                self._count(fuse, ended)
        if ended.code != 0:
            found.problems.append(f"exit code {ended.code}: {ended.output[-1500:]}")
        self._compare(ground, found)
        self._add(found, told)
        ground.remove()
        return found

    def _life(self, ground: Ground, fuse: Fuse) -> Ended:
        words = self.course.scenario.command(ground)
        if "seconds" in fuse:
            return ground.executed(*words, seconds=fuse["seconds"])
        return ground.start(*words, fuse=fuse, control=self.course.control).wait()

    def _compare(self, ground: Ground, found: Found) -> None:
        scenario = self.course.scenario
        try:
            ours = gather(ground, scenario.run_id, timeless=scenario.timeless)
            compare(ours, self.course.undisturbed(self.state).evidence, found)
            consistent(ground, scenario.run_id, found)
        except Exception as problem:  # noqa: BLE001  (what cannot be read is a finding, not the end of the campaign)
            found.problems.append(f"{type(problem).__name__}: {problem}")

    def _count(self, fuse: Fuse, ended: Ended) -> None:
        kind = "process" if "seconds" in fuse else "instant" if "after" in fuse else "point"
        place = ended.trace[-1] if ended.trace else STARTING
        point = f"after {place}" if kind == "instant" and ended.trace else place
        self.tally.kills[self.course.scenario.name, self.state, kind, point] += 1
        self.tally.resumes += 1
        self.tally.cpu_seconds += ended.cpu

    def _add(self, found: Found, told: list[Any]) -> None:
        whole = self.tally.found
        self.tally.trials += 1
        for name in ("bytes", "records", "rows", "differing_bytes", "lost", "doubled"):
            setattr(whole, name, getattr(whole, name) + getattr(found, name))
        if found:
            name = f"{self.course.scenario.name} on {self.state}"
            self.tally.failures.append(f"{name}: {found.problems}; lives: {told}")


def at(point: str, nth: int) -> Iterator[Fuse]:
    """Killed once, when `point` is reached for the n-th time."""
    yield {"point": point, "nth": nth}


def each_once(tally: Tally) -> Iterator[Fuse]:
    """Killed at the first point at which no life of `tally` has died yet, for ever."""
    while True:
        yield {"spared": sorted({point for _, _, _, point in tally.kills})}


def at_random(dice: random.Random, kills: int, reach: int = 160) -> Iterator[Fuse]:
    """Killed `kills` times: at points, at instants between them, and while an interpreter starts.

    reach : how many points a life reaches at most before it dies
    """
    for _ in range(kills):
        draw = dice.random()
        if draw < 0.62:
            yield {"reach": dice.randint(1, reach)}
        elif draw < 0.93:
            yield {"reach": dice.randint(0, reach), "after": dice.expovariate(1 / 0.02)}
        elif draw < 0.97:
            yield {"reach": 0, "after": dice.uniform(0.0, 0.3)}
        else:
            yield {"seconds": dice.uniform(0.05, 2.5)}
