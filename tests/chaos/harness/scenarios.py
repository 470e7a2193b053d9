"""What is killed: an atomic run, a retry, a fork, commits of DataOps; each with its undisturbed reference."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from harness.evidence import Evidence, gather
from harness.market import PROFILE, Ground, Market

RUN = ("run", "--profile", PROFILE, "--run-id", "k1")
DAMAGED = "data/returns_matrix.parquet"


@dataclass(frozen=True)
class Scenario:
    """A command that is killed and typed again until it ends.

    words : for a ground, the command; `resume` follows once the run is known and has not failed
    prepare : what happens to the ground before, undisturbed; null for nothing
    timeless : artifacts and records hold no time, so they are compared byte for byte
    """

    name: str
    run_id: str
    words: Callable[[Ground], tuple[str, ...]]
    prepare: Callable[[Ground], None] | None = None
    timeless: bool = True

    def command(self, ground: Ground) -> tuple[str, ...]:
        """What an operator types now."""
        known = state_of(ground, self.run_id)
        return self.words(ground) if known in (None, "FAILED") else ("resume", self.run_id)


def state_of(ground: Ground, run_id: str) -> str | None:
    """State of a run, null while nobody knows it."""
    from quantctl.workflows import runs
    from quantctl.workflows.runtime import Places

    data = ground.data
    places = Places(data, data / "lakehouse", data / "artifacts", data / "export", ground.state_url)
    known = runs.status(places, run_id)
    return known.state if known is not None else None


def _interrupted_and_damaged(ground: Ground) -> None:
    """A run that failed near its end over a damaged artifact, which is whole again."""
    died = ground.start(*RUN, fuse={"point": "compute.begin", "nth": 12}).wait()
    assert died.killed, died.output
    path = ground.run_root("k1") / DAMAGED
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    failed = ground.start("resume", "k1").wait()
    assert state_of(ground, "k1") == "FAILED", failed.output
    path.write_bytes(whole)


def _finished(ground: Ground) -> None:
    ground(*RUN)


def _bars(ground: Ground) -> tuple[str, ...]:
    """A file of bars of two symbols that the lake has not."""
    path = ground.root / "bars.csv"
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["symbol", "date", "open", "high", "low", "close", "volume"])
        for number, symbol in enumerate(("CHAOSUSDT", "ORDERUSDT")):
            for day in range(200):
                price = 100 + number + day % 7
                when = date(2023, 6, 1) + timedelta(days=day)
                rows.writerow([symbol, when, price, price + 2, price - 2, price + 1, 1000 + day])
    return ("data", "import", str(path), "--exchange", "BINANCE", "--calendar", "24x7", "--run-id", "d1")


ALPHA = Scenario("alpha", "k1", lambda _: RUN)
RETRY = Scenario(
    "retry", "k1", lambda _: ("retry", "k1", "--from-stage", "selection.policy"), _interrupted_and_damaged
)
FORK = Scenario(
    "fork", "f1",
    lambda _: ("fork", "k1", "--from-stage", "selection.policy", "--run-id", "f1",
               "--set", "allocation.cluster_cap=0.3"),
    _finished,
)  # fmt: skip
IMPORT = Scenario("import", "d1", _bars, timeless=False)
FEATURES = Scenario(
    "features", "d2", lambda _: ("data", "features", "--all-symbols", "--yes", "--run-id", "d2"),
    timeless=False,
)  # fmt: skip
CANDIDATES = Scenario(
    "candidates", "d3", lambda _: ("data", "candidates", "--profile", PROFILE, "--run-id", "d3"),
    timeless=False,
)  # fmt: skip
SCENARIOS = {each.name: each for each in (ALPHA, RETRY, FORK, IMPORT, FEATURES, CANDIDATES)}


@dataclass(frozen=True)
class Undisturbed:
    """A scenario that nobody killed: what it left, and every point that it reached."""

    evidence: Evidence
    trace: list[str]


class Course:
    """Fresh grounds for a scenario, and its undisturbed run.

    There is one reference for both databases: where the state is kept reaches no artifact and no body. A
    scenario that goes on from another run has one on each, for a fork names the head of its source.

    control : a deliberately wrong effect, built into every life
    """

    def __init__(self, scenario: Scenario, market: Market, control: str | None = None) -> None:
        self.scenario, self.market, self.control = scenario, market, control
        self._prepared: dict[str, Ground] = {}
        self._undisturbed: dict[str, Undisturbed] = {}
        self._preparing, self._referring = threading.Lock(), threading.Lock()

    def ground(self, state: str) -> Ground:
        """A ground on which the scenario can begin."""
        if self.scenario.prepare is None:
            return self.market.ground(state)
        with self._preparing:
            if state not in self._prepared:
                ground = self.market.ground(state)
                self.scenario.prepare(ground)
                self._prepared[state] = ground
            return self.market.ground(state, like=self._prepared[state])

    def undisturbed(self, state: str) -> Undisturbed:
        """The reference, made once."""
        wanted = state if self.scenario.prepare is not None else "sqlite"
        with self._referring:
            if wanted not in self._undisturbed:
                self._undisturbed[wanted] = self._lived(wanted)
            return self._undisturbed[wanted]

    def _lived(self, state: str) -> Undisturbed:
        ground = self.ground(state)
        done = ground.start(*self.scenario.words(ground), control=self.control).wait()
        assert done.code == 0, f"{self.scenario.name}: {done.code}\n{done.output}"
        evidence = gather(ground, self.scenario.run_id, timeless=self.scenario.timeless)
        ground.remove()
        return Undisturbed(evidence, done.trace)
