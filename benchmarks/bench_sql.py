"""sql_10k: SQL over 10,000 runs and 100,000 records beside a live writer; how projecting a run grows.

Three questions, each through `quantctl sql` in process and through a stock DuckDB on the catalogue,
connection included. The writer books and projects runs without pause in a process of its own. An existing
history may be given as argument (`history.py DIR 10000` makes one).
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import history
from claims import Claim, worst
from history import Places

from quantctl.lake.live_sql import answer
from quantctl.workflows.projection import project_run, rebuild_all
from quantctl.workflows.surface import live_surface

RUNS = 10_000
FEW = 10
ROUNDS = 15
QUERIES = {
    "aggregate": "SELECT profile, type, status, count(*) AS records, count(DISTINCT run_id) AS runs"
    " FROM ledger GROUP BY ALL ORDER BY ALL",
    "one_run": "SELECT seq, ts, type, step, status, code, data FROM ledger"
    f" WHERE run_id = '{history.run_id(RUNS // 2)}' ORDER BY seq",
    "latest_20": "SELECT run_id, profile, state, code, created_at FROM runs"
    " ORDER BY created_at DESC, run_id LIMIT 20",
}


def walls(call: Callable[[], object]) -> tuple[list[float], float]:
    """Milliseconds of wall time, once per round after one untimed call; and the median of CPU time."""
    call()
    spent, worked = [], []
    for _ in range(ROUNDS):
        began, used = time.perf_counter(), time.process_time()
        call()
        spent.append(1e3 * (time.perf_counter() - began))
        worked.append(1e3 * (time.process_time() - used))
    return spent, statistics.median(worked)


def stock(places: Places, query: str) -> list[tuple[object, ...]]:
    """The answer of a stock DuckDB."""
    with duckdb.connect(str(places.catalog), read_only=True) as connection:
        return connection.execute(query).fetchall()


@contextmanager
def writer(data: Path) -> Iterator[None]:
    """A process that books and projects one run after the other."""
    process = subprocess.Popen([sys.executable, __file__, "--write", str(data)])
    try:
        time.sleep(3)
        assert process.poll() is None, "the writer ended"
        yield
    finally:
        process.kill()
        process.wait()


def write(data: Path) -> None:
    """Book and project runs until killed."""
    with history.writing(data) as add:
        while True:
            places, run_id = add()
            project_run(places, run_id)


def projecting(places: Places, data: Path) -> list[float]:
    """CPU milliseconds of projecting one more run."""
    spent = []
    with history.writing(data) as add:
        for turn in range(ROUNDS + 1):
            _, run_id = add()
            began = time.process_time()
            project_run(places, run_id)
            if turn:  # the first call imports and compiles
                spent.append(1e3 * (time.process_time() - began))
    return spent


def questions(places: Places, data: Path) -> list[int]:
    """The claims of SQL beside a live writer."""
    codes = []
    for name, query in QUERIES.items():
        rows = answer(live_surface(places), query)[1]
        asked = {"quantctl sql": lambda q=query: answer(live_surface(places), q),
                 "stock DuckDB": lambda q=query: stock(places, q)}  # fmt: skip
        with writer(data):
            for way, call in asked.items():
                workload = f"{name}, {way}, {RUNS} runs, {RUNS * history.RECORDS} records, live writer"
                spent, worked = walls(call)
                codes.append(
                    Claim("sql_10k", workload, "ms", spent, goal=100.0, floor=250.0,
                          quality={"rows": len(rows)}, versions={"duckdb": duckdb.__version__},
                          more={"cpu_ms": round(worked, 1)}).emit()
                )  # fmt: skip
    return codes


def main() -> int:
    """Measure, print, and judge against the goals."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        long, short = Path(scratch) / "long", Path(scratch) / "short"
        if len(sys.argv) > 1:
            shutil.copytree(sys.argv[1], long, ignore=shutil.ignore_patterns("artifacts", "ledger"))
            places = history.places(long)
        else:
            long.mkdir()
            places = history.build(long, RUNS)
        short.mkdir()
        few = history.build(short, FEW)
        for where in (places, few):
            rebuild_all(where)
        grown = [a / b for a, b in zip(projecting(places, long), projecting(few, short), strict=True)]
        codes = questions(places, long)
        workload = f"CPU of projecting one more run, {RUNS} runs / {FEW} runs"
        codes.append(Claim("project_growth", workload, "ratio", grown, goal=1.5, floor=3.0).emit())
    return worst(codes)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(Path(sys.argv[2]))
    sys.exit(main())
