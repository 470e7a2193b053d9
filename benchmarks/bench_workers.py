"""workers: tiny runs per second with 1, 2 and 4 workers on one Postgres; one JSON line per claim.

Every worker executes one run at a time. Time runs from the first booked record to the last, so starts of
processes are left out. The runs have two stages of almost no work: what is measured is queue, leases,
ledger and projections. More workers than cores can't be faster.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from types import ModuleType

from claims import Claim, worst

TESTS = Path(__file__).parents[1] / "tests"
COUNTS = (1, 2, 4)
RUNS = 40


def load(path: Path) -> ModuleType:
    """A module of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


postgres = load(TESTS / "postgres.py")
workshop = load(TESTS / "chaos" / "workshop.py")


def seconds(url: str, root: Path, count: int) -> float:
    """Time in which `count` workers execute all runs, once each of them is there."""
    shop = workshop.Workshop(root, url)
    ids = [f"r{number:03}" for number in range(RUNS)]
    try:
        for hand in [shop.hire(lease=60) for _ in range(count)]:
            assert hand.name
        shop.submit(ids)
        shop.wait_finished(ids, 600)
        first, last = shop.rows("SELECT min(ts), max(ts) FROM run_ledger")[0]
    finally:
        shop.close()
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def claim(count: int, took: float, alone: float) -> Claim:
    """Runs per second of `count` workers; timed, not judged: it depends on the cores."""
    return Claim(
        f"workers_{count}", f"{RUNS} runs of two tiny stages, Postgres, {count} workers", "runs/s",
        [RUNS / took], goal=None, floor=None, lower=False,
        more={"over_one_worker": round(alone / took, 2), "cores": len(os.sched_getaffinity(0))},
    )  # fmt: skip


def main() -> int:
    """Measure and print."""
    reason = postgres.why_not()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 3
    took: dict[int, float] = {}
    with postgres.serving() as server:
        for count in COUNTS:
            with tempfile.TemporaryDirectory() as root:
                took[count] = seconds(server.database(), Path(root), count)
    return worst([claim(count, took[count], took[COUNTS[0]]).emit() for count in COUNTS])


if __name__ == "__main__":
    sys.exit(main())
