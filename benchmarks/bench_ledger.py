"""ledger_append: appending to a chain does not grow with its length; ledger_verify: all of a long history.

Appends go through the product's transaction (`lake.ledger.append`, one commit each, SQLite, fsync on), both
lengths in turn. Verification is the front door's own command over a history with files.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import history
from claims import Claim, worst

from quantctl.lake import ledger, state
from quantctl.lake.ledger import Draft
from quantctl.workflows import book, runs

MANY, FEW = 3_000, 300
ROUNDS = 7
RUNS = 2_000


def appended(data: Path, count: int, run_id: str) -> float:
    """CPU seconds of `count` hash-chained appends to a new run, one transaction each."""
    places = history.places(data)
    asked = runs.request_of(places, history.SEED)
    assert asked is not None
    engine = state.open_engine(places.state_url)
    with engine.begin() as sql:
        book.genesis(sql, asked.model_copy(update={"run_id": run_id}))
    began = time.process_time()
    for number in range(count):
        draft = Draft("decision", "info", "selection.policy", 1, "ROWS_PADDED", data={"n": number, "x": 0.5})
        with engine.begin() as sql:
            head = ledger.head(sql, run_id)
            assert head is not None
            ledger.append(sql, head, [draft], book.now())
    spent = time.process_time() - began
    engine.dispose()
    return spent


def verified(data: Path) -> tuple[float, float]:
    """CPU seconds and peak megabytes of `ledger verify --all`."""
    command = [sys.executable, "-m", "quantctl", "--set", f"paths.data_dir={data}", "ledger", "verify"]
    process = subprocess.Popen([*command, "--all", "--json"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, "a sound history was not verified"
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> int:
    """Measure, print, and judge against the goals."""
    with tempfile.TemporaryDirectory() as scratch:
        short, long = Path(scratch) / "short", Path(scratch) / "long"
        short.mkdir()
        long.mkdir()
        history.seed(short)
        ratios = [
            appended(short, MANY, f"many_{turn}") / appended(short, FEW, f"few_{turn}")
            for turn in range(ROUNDS)
        ]
        history.build(long, RUNS, files=True)
        cost, memory = zip(*(verified(long) for _ in range(3)), strict=True)
        per_run = [1e3 * seconds / RUNS for seconds in cost]
        return worst([
            Claim("ledger_append", f"CPU of {MANY} appends / of {FEW}", "ratio", ratios, 11.0, 13.0).emit(),
            Claim("ledger_verify", f"--all over {RUNS} runs with files, per run", "CPU ms", per_run, 2.0, 4.0,
                  more={"peak_mb": round(max(memory), 1)}).emit(),
        ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
