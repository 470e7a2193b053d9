"""One batch of tiny children in a process of its own, for `bench_fan_out`.

one_batch.py DATA RUN_ID CHILDREN   prints `{cpu, wall, operations, children}`: CPU seconds of the
parent's own thread, seconds from its begin to its end, operations of the engine that it made
"""

from __future__ import annotations

import gc
import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

from quantctl.cli import COLLECT_AFTER
from quantctl.lake import state
from quantctl.sdk import QuantSDK

PROFILES = ["binance_spot_rating_all_long", "binance_spot_rating_ma_long", "binance_spot_rating_all_neutral"]
DAYS = 100


def main(data: str, run_id: str, children: str) -> int:
    """Run it; returns its exit code."""
    from quantctl.workflows import fan_out

    gc.set_threshold(*COLLECT_AFTER)
    load_tiny()
    figures: dict[str, float] = {}
    measured(fan_out.BatchRun, figures)
    sdk = QuantSDK(overrides=[f"paths.data_dir={data}", "orchestration.min_free_mb=0"])
    profiles = PROFILES if int(children) > DAYS else PROFILES[:1]
    dates = [f"2023-{1 + day // 28:02}-{1 + day % 28:02}" for day in range(int(children) // len(profiles))]
    found = sdk.batch(profiles, as_of=tuple(dates), pipeline="tiny.full", run_id=run_id)
    with state.reader(sdk.places.state_url) as connection:
        assert connection is not None
        query = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid = ?"
        figures["operations"] = connection.execute(query, (run_id,)).fetchone()[0]
    print(json.dumps(figures | {"children": len(dates) * len(profiles)}))
    return found.exit_code or 0


def load_tiny() -> None:
    """Register the tiny pipeline of the tests in this process."""
    path = Path(__file__).parents[1] / "tests" / "chaos" / "tiny.py"
    spec = importlib.util.spec_from_file_location("tiny_pipeline", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_pipeline"] = module
    spec.loader.exec_module(module)
    module.register()


def measured(kind: Any, figures: dict[str, float]) -> None:
    """Let the body of a batch note what it took."""
    body = kind.go

    def go(self: Any) -> Any:
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            return body(self)
        finally:
            figures.update(cpu=time.thread_time() - cpu, wall=time.perf_counter() - wall)

    kind.go = go


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
