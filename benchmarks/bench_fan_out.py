"""fan_out: what a child costs its batch, and how that grows from 30 to 300 children.

`fan_out_parent` is the CPU that the parent's own thread takes per child of 300: to build and enqueue its
request, to wait for it and to book its end. `fan_out_growth` is the same of 300 children over that of 30:
1 where a child costs the same however many there are. `fan_out_child` is the CPU of the whole process per
child beyond the first 30: the tiny run itself, its files, its ledger and its part of the SQL surface.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from claims import Claim, worst
from processes import Spent, spent

from quantctl.sdk import QuantSDK

ROUNDS, FEW, MANY = 3, 30, 300
BATCH = Path(__file__).with_name("one_batch.py")
WORKLOAD = "batches of 30 and 300 runs of two tiny stages, two at once, SQLite"


def batch(root: Path, turn: int, children: int) -> tuple[Spent, dict[str, Any]]:
    """One batch in a fresh process over a lake of its own; what it spent and what it says."""
    data = root / f"{turn}_{children}" / "data"
    data.mkdir(parents=True)
    sdk = QuantSDK(overrides=[f"paths.data_dir={data}", "orchestration.min_free_mb=0"])
    request = {"seed": 7, "symbols": 12, "days": 120, "start": "2023-01-01", "calendar": "24x7",
               "exchange": "BINANCE"}  # fmt: skip
    assert sdk.run_pipeline("data.simulate", arguments=request).state == "SUCCESS"
    done = spent(data.parent, sys.executable, str(BATCH), str(data), "b1", str(children))
    return done, json.loads(done.out.splitlines()[-1])


def main() -> int:
    """Measure, print, and judge."""
    few: list[tuple[Spent, dict[str, Any]]] = []
    many: list[tuple[Spent, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(ROUNDS):
            few.append(batch(Path(scratch), turn, FEW))
            many.append(batch(Path(scratch), turn, MANY))
    operations = {said["operations"] - 2 * said["children"] for _, said in (*few, *many)}
    wrong = operations != {5} or {said["children"] for _, said in (*few, *many)} != {FEW, MANY}
    parent = [said["cpu"] / MANY for _, said in many]
    each = [(a.cpu - b.cpu) / (MANY - FEW) for (a, _), (b, _) in zip(many, few, strict=True)]
    growth = [
        (a["cpu"] / MANY) / (b["cpu"] / FEW) for (_, a), (_, b) in zip(many, few, strict=True)
    ]  # fmt: skip
    facts: dict[str, Any] = {
        "refused": "BENCH_QUALITY" if wrong else None,
        "quality": {"operations_beyond_two_a_child": sorted(operations)},
        "more": {
            "wall_per_child": round(statistics.median(said["wall"] for _, said in many) / MANY, 4),
            "parent_cpu_of_300": round(statistics.median(said["cpu"] for _, said in many), 3),
        },
    }
    return worst([
        Claim("fan_out_parent", WORKLOAD, "CPU s per child", parent, goal=0.02, floor=0.05, **facts).emit(),
        Claim("fan_out_growth", WORKLOAD, "ratio", growth, goal=1.2, floor=1.5, **facts).emit(),
        Claim("fan_out_child", WORKLOAD, "CPU s per child", each, goal=0.25, floor=0.5, **facts).emit(),
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
