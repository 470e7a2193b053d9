"""An unattended campaign of SIGKILLs: `python tests/chaos/campaign.py --kills 2000 --state sqlite,postgres`.

Runs, retries, forks and DataOps commits on a small simulated market are killed at random places, typed
again until they end, and compared with undisturbed ones. A report of counts is printed, and written as JSON
with `--report`. Exit 1 if a byte differs, a record is lost or doubled, a reader had an error, or a positive
control went unnoticed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from harness.controls import CONTROLS
from harness.lives import Nursery
from harness.market import Market
from harness.report import report, text
from harness.scenarios import SCENARIOS, Course
from harness.servers import postgres
from harness.trial import Tally, Trial, at, at_random

# How often each is chosen; a DataOps commit is short and takes few kills.
WEIGHTS = {"alpha": 10, "retry": 3, "fork": 3, "import": 2, "features": 2, "candidates": 2}
KILLS = 12  # of one trial, at most: enough to die in every part of a run


def main() -> int:
    """Run the campaign that the command line asks for."""
    asked = _asked()
    began = time.monotonic()
    states = asked.state.split(",")
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        server = stack.enter_context(postgres().serving()) if "postgres" in states else None
        nursery = stack.enter_context(Nursery())
        market = Market(root, nursery, server)
        market.make()
        courses = [Course(SCENARIOS[name], market) for name in asked.scenarios.split(",")]
        missed = [name for state in states for name in CONTROLS if unnoticed(name, state, market)]
        tally = Tally()
        workers = [
            threading.Thread(target=_work, args=(asked, number, states, courses, tally))
            for number in range(asked.jobs)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    result = report(tally, asked.seed, states, missed, time.monotonic() - began)
    print(text(result))
    if asked.report:
        Path(asked.report).write_text(json.dumps(result, indent=2) + "\n")
    return 0 if result["passed"] else 1


def unnoticed(control: str, state: str, market: Market) -> bool:
    """Whether the harness misses a wrong effect: a killed run of it equals an undisturbed one."""
    spoilt = Course(SCENARIOS["alpha"], market, control)
    plan = CONTROLS[control]
    found = Trial(spoilt, state, Tally()).run(at(str(plan["point"]), int(plan["nth"])))
    return not (found.differing_bytes or found.lost or found.doubled)


def _work(
    asked: argparse.Namespace, number: int, states: list[str], courses: list[Course], tally: Tally
) -> None:
    """Trial after trial until the campaign has its kills; both databases get the same share."""
    dice = random.Random(f"{asked.seed}/{number}")
    for turn in _turns(asked, tally):
        state = states[(turn + number) % len(states)]
        chosen = dice.choices(courses, [WEIGHTS[each.scenario.name] for each in courses])[0]
        fuses = at_random(dice, KILLS, len(chosen.undisturbed(state).trace) // 4)
        Trial(chosen, state, tally, watched=True).run(fuses)
        if asked.verbose:
            print(f"{tally.kills.total()} kills, {tally.trials} trials, {len(tally.failures)} failures",
                  file=sys.stderr, flush=True)  # fmt: skip


def _turns(asked: argparse.Namespace, tally: Tally) -> Iterator[int]:
    turn = 0
    while tally.kills.total() < asked.kills:
        yield turn
        turn += 1


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs, over all databases")
    parser.add_argument("--state", default="sqlite", help="sqlite, postgres or both, comma-separated")
    parser.add_argument("--seed", type=int, default=7, help="of every random choice")
    parser.add_argument("--jobs", type=int, default=2, help="trials at once")
    parser.add_argument("--scenarios", default=",".join(WEIGHTS), help="comma-separated")
    parser.add_argument("--report", help="file for the report as JSON")
    parser.add_argument("--verbose", action="store_true", help="progress on stderr")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
