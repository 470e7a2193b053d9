"""Run the allocation benchmarks and write their table, docs/benchmarks.md.

    python benchmarks/allocation.py [--only ID ...] [--quick | --full | --no-peers | --sizes N ...]

Each file runs in a fresh process. Lines go to build/benchmarks/allocation.jsonl, where a newer line of the
same claim, N, variant and peer replaces the older one, so parts can be measured again. `--table` measures
nothing; `--quick` writes no table. The exit code is the worst of the files.
"""

from __future__ import annotations

import argparse
import sys

import table
from claims import worst
from storing import HERE, Store, measured

IDS = (
    "cov", "kappa", "hrp", "herc", "erc", "minvar", "maxsharpe", "maxdiv", "mvo", "mincvar", "reference",
    "walkforward", "infeasible",
)  # fmt: skip


def main() -> int:
    """Measure, store, write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=IDS, default=IDS)
    parser.add_argument("--table", action="store_true", help="measure nothing")
    given, options = parser.parse_known_args()
    store, codes = Store("allocation", table.KEY), []
    for name in () if given.table else given.only:
        lines, code = measured(f"alloc_{name}", options)
        codes.append(code)
        if "--quick" not in options:
            store.keep(lines)
    if "--quick" not in options:
        (HERE.parent / "docs" / "benchmarks.md").write_text(table.page(store.lines()))
    return worst(codes)


if __name__ == "__main__":
    sys.exit(main())
