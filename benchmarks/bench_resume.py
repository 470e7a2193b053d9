"""resume and resume_latency: what interruptions cost an atomic run.

resume: a run killed before each of its stages in turn, so with one life per stage: CPU of all lives over
CPU of an undisturbed run, minus one process start per extra life. A process start is the life that was
killed before the first stage computed.
resume_latency: wall from a worker's start, after its imports, until the interrupted stage computes again,
for the worker embedded in `quantctl resume` and for a long-lived one that adopts the run.
"""

from __future__ import annotations

import shutil
import signal
import statistics
import sys
import tempfile
from pathlib import Path

from bench_atomic_200 import market, workload
from claims import Claim, worst
from processes import Spent, life

from quantctl.workflows.registry import build

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import postgres

ROUNDS = 3
LATENCIES = 7
MIDDLE = 6  # the stage whose computing is interrupted for the latency, counted from 1


def killed_before_each(data: Path, run_id: str, url: str) -> tuple[list[float], list[float]]:
    """CPU of the lives of one run, each killed one stage later, and of as many starts as it has extra ones.

    A start is the first life of another run, killed before its first stage; they are taken in turn.
    """
    starts, lives = [], [_killed(life(data, "run", run_id, "1", url=url)).cpu]
    for number in range(1, len(build("alpha.full").stages)):
        starts.append(_killed(life(data, "run", f"{run_id}_start_{number}", "1", url=url)).cpu)
        lives.append(_killed(life(data, "run", run_id, "2", url=url)).cpu)
    starts.append(_killed(life(data, "run", f"{run_id}_start_last", "1", url=url)).cpu)
    last = life(data, "run", run_id, url=url)
    if last.exit != 0:
        raise SystemExit(f"the last life of {run_id} ended with {last.exit}")
    return [*lives, last.cpu], starts


def _killed(spent: Spent) -> Spent:
    if spent.exit != -signal.SIGKILL:
        raise SystemExit(f"a life ended with {spent.exit}, it was to be killed")
    return spent


def cost_of_resuming(data: Path, name: str, url: str) -> tuple[list[float], dict[str, float]]:
    """Per round: CPU of all lives, less the starts of the extra ones, over CPU of an undisturbed run."""
    ratios, starts, whole = [], [], []
    for turn in range(ROUNDS):
        undisturbed = life(data, "run", f"{name}_whole_{turn}", url=url).cpu
        lives, extra = killed_before_each(data, f"{name}_killed_{turn}", url)
        starts += extra
        whole.append(undisturbed)
        ratios.append((sum(lives) - sum(extra)) / undisturbed)
    return ratios, {"start_cpu": round(statistics.median(starts), 3),
                    "undisturbed_cpu": round(statistics.median(whole), 3)}  # fmt: skip


def latencies(data: Path, name: str, verb: str, url: str) -> list[float]:
    """Seconds until an interrupted stage computes again, of worker after worker."""
    run_id = f"{name}_{verb}"
    _killed(life(data, "run", run_id, str(MIDDLE), url=url))
    return [float(_killed(life(data, verb, run_id, url=url)).out) for _ in range(LATENCIES + 1)][1:]


def claims_over(data: Path, name: str, url: str) -> list[int]:
    """The three claims over one database."""
    ratios, more = cost_of_resuming(data, name, url)
    told = f"{workload('native')}; state in {name}"
    lives = len(build("alpha.full").stages) + 1
    codes = [Claim(f"resume_{name}", f"{told}; {lives} lives", "ratio", ratios, 1.15, 1.3, more=more).emit()]
    for verb in ("resume", "worker"):
        seconds = latencies(data, name, verb, url)
        codes.append(Claim(f"resume_latency_{verb}_{name}", told, "s", seconds, 0.5, 1.0).emit())
    return codes


def main() -> int:
    """Measure, print, and judge against the budget."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        data.mkdir()
        market(data)
        life(data, "run", "bytecode")
        codes = claims_over(data, "sqlite", "")
        if postgres.why_not() is not None:
            missing = Claim(
                "resume_postgres", workload("native"), "ratio", [], 1.15, 1.3, refused="PEER_MISSING"
            )
            return worst([*codes, missing.emit()])
        with postgres.serving() as server:
            copy = Path(scratch) / "postgres"
            shutil.copytree(data, copy, symlinks=True)
            return worst([*codes, *claims_over(copy, "postgres", server.database())])


if __name__ == "__main__":
    sys.exit(main())
