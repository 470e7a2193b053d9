"""durability_tax: what checkpoints, ledger, projections and the workflow engine cost an atomic run.

CPU of a fresh process that runs the pipeline durably, minus CPU of one that calls the same stages, gates
and artifact writes plainly (`workflows/plain.py`), imports of both included; taken in turn. On Postgres
the CPU of the server is not counted. The plain stages must leave the very files that the run left.
"""

from __future__ import annotations

import shutil
import sqlite3
import statistics
import sys
import tempfile
from pathlib import Path

from bench_atomic_200 import market, workload
from claims import Claim, worst
from processes import life, spent

from quantctl.lake import audit_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import postgres

ROUNDS = 7
BASE = "base"


def as_last_stage_found_it(data: Path) -> Path:
    """A copy of the state of the finished run `BASE` and of its ledger files, cut before its last stage."""
    copy = data.parent / "plain"
    (copy / "state").mkdir(parents=True)
    for name in ("lakehouse", "artifacts", "cache"):
        shutil.copytree(data / name, copy / name, symlinks=True)
    state = copy / "state" / "quantctl.sqlite"
    with sqlite3.connect(data / "state" / "quantctl.sqlite") as source, sqlite3.connect(state) as target:
        source.backup(target)
        target.execute(
            "DELETE FROM run_ledger WHERE run_id = ? AND seq >= (SELECT max(seq) FROM run_ledger"
            " WHERE run_id = ? AND status = 'intent')",
            (BASE, BASE),
        )
    root = copy / "artifacts" / "summaries" / "runs" / BASE
    for name in ("audit.jsonl", "audit_head.json"):
        (root / name).unlink()
    audit_file.project(f"sqlite:///{state}", BASE, root)
    return copy


def measured(data: Path, urls: dict[str, str]) -> tuple[dict[str, list[float]], int]:
    """CPU per round of each way to run, in turn; and how many files the plain stages left otherwise."""
    copy = as_last_stage_found_it(data)
    differing = 0
    figures: dict[str, list[float]] = {name: [] for name in ("plain", *urls)}
    for turn in range(ROUNDS):
        plain = life(copy, "plain", BASE)
        differing += int(plain.out)
        figures["plain"].append(plain.cpu)
        for name, url in urls.items():
            figures[name].append(life(data, "run", f"{name}_{turn}", url=url).cpu)
    return figures, differing


def claim(name: str, figures: dict[str, list[float]], differing: int) -> Claim:
    """The tax over one database; its limit is a share of the plain cost, half a second at least."""
    plain = statistics.median(figures["plain"])
    tax = [ours - theirs for ours, theirs in zip(figures[name], figures["plain"], strict=True)]
    judged = max(statistics.median(tax), statistics.median(figures[name]) - plain)
    return Claim(
        f"durability_tax_{name}", workload("native"), "CPU s", tax,
        goal=max(0.5, 0.1 * plain), floor=max(1.0, 0.2 * plain), judged=judged,
        refused="BENCH_QUALITY" if differing else None, quality={"files_otherwise": differing},
        more={"plain_cpu": round(plain, 3), "durable_cpu": round(statistics.median(figures[name]), 3),
              "engine_import_cpu": round(engine_import(), 3)},
    )  # fmt: skip


def engine_import() -> float:
    """CPU to import the workflow engine over what a plain process imports anyway: part of the tax."""
    with tempfile.TemporaryDirectory() as scratch:
        needed = "import quantctl.sdk, quantctl.workflows.plain, sqlalchemy, polars"
        pairs = []
        for _ in range(ROUNDS + 1):
            without = spent(Path(scratch), sys.executable, "-c", needed).cpu
            pairs.append(spent(Path(scratch), sys.executable, "-c", needed + ", dbos").cpu - without)
    return statistics.median(pairs[1:])


def main() -> int:
    """Measure, print, and judge against the budget."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        data.mkdir()
        market(data)
        life(data, "run", BASE)
        if postgres.why_not() is not None:
            figures, differing = measured(data, {"sqlite": ""})
            missing = Claim("durability_tax_postgres", workload("native"), "CPU s", [], 0.5, 1.0,
                            refused="PEER_MISSING")  # fmt: skip
            return worst([claim("sqlite", figures, differing).emit(), missing.emit()])
        with postgres.serving() as server:
            figures, differing = measured(data, {"sqlite": "", "postgres": server.database()})
        return worst([claim(name, figures, differing).emit() for name in ("sqlite", "postgres")])


if __name__ == "__main__":
    sys.exit(main())
