"""Run the allocation benchmarks and write their table, docs/benchmarks.md.

    python benchmarks/allocation.py [--only ID ...] [--quick | --full | --no-peers | --sizes N ...]

Each file runs in a fresh process. Lines go to build/benchmarks/allocation.jsonl, where a newer line of the
same claim, N, variant and peer replaces the older one, so parts can be measured again. `--table` measures
nothing; `--quick` writes no table. The exit code is the worst of the files.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import table
from claims import worst

HERE = Path(__file__).resolve().parent
STORE = HERE.parent / "build" / "benchmarks" / "allocation.jsonl"
IDS = (
    "cov", "kappa", "hrp", "herc", "erc", "minvar", "maxsharpe", "maxdiv", "mvo", "mincvar", "reference",
    "walkforward", "infeasible",
)  # fmt: skip
Line = dict[str, Any]


def measured(name: str, options: list[str]) -> tuple[list[Line], int]:
    """Lines and exit code of one file; its lines are shown as they come."""
    command = [sys.executable, str(HERE / f"bench_alloc_{name}.py"), *options]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for text in process.stdout or ():
            print(text, end="", flush=True)
            lines.append(json.loads(text))
    return lines, process.returncode


def stored() -> list[Line]:
    """Lines of earlier measurements."""
    return [json.loads(text) for text in STORE.read_text().splitlines()] if STORE.exists() else []


def kept(lines: list[Line]) -> None:
    """Store lines; the newest of its kind stays."""
    newest = {tuple(str(line.get(k)) for k in table.KEY): line for line in [*stored(), *lines]}
    STORE.parent.mkdir(parents=True, exist_ok=True)
    STORE.write_text("".join(json.dumps(line) + "\n" for line in newest.values()))


def main() -> int:
    """Measure, store, write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=IDS, default=IDS)
    parser.add_argument("--table", action="store_true", help="measure nothing")
    given, options = parser.parse_known_args()
    codes = []
    for name in () if given.table else given.only:
        lines, code = measured(name, options)
        codes.append(code)
        if "--quick" not in options:
            kept(lines)
    if "--quick" not in options:
        (HERE.parent / "docs" / "benchmarks.md").write_text(table.page(stored()))
    return worst(codes)


if __name__ == "__main__":
    sys.exit(main())
