"""One life of an atomic run in a process of its own, for the benchmarks of durability.

one_life.py DATA run RUN_ID [KILL_AT]   run or resume it; SIGKILL when the KILL_AT-th stage computes
one_life.py DATA plain RUN_ID           its stages called plainly, from the same request
one_life.py DATA resume RUN_ID          seconds, imports apart, until the interrupted stage computes again
one_life.py DATA worker RUN_ID          the same for a long-lived worker that adopts the run
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from quantctl.cli import COLLECT_AFTER
from quantctl.lake import fault_points
from quantctl.sdk import QuantSDK

PROFILE = "binance_spot_rating_all_long"
CARRIED = ("config/resolved_manifest.json", "audit.jsonl", "audit_head.json")


def main(data: str, verb: str, run_id: str, *words: str) -> int:
    """Do what is asked; returns the exit code."""
    sdk = QuantSDK(overrides=[f"paths.data_dir={data}", "orchestration.min_free_mb=0"])
    if verb == "run":
        kill_at = int(words[0]) if words else 0
        fault_points.arm(_at_stage(kill_at, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        return sdk.run_pipeline("alpha.full", profile=PROFILE, run_id=run_id).exit_code or 0
    if verb == "plain":
        print(plainly(sdk, run_id))
        return 0
    return seconds_to_stage(sdk, verb, run_id)


def _at_stage(number: int, action: Callable[[], None]) -> Callable[[str], None]:
    """Act when the `number`-th stage of this life begins to compute."""
    seen = 0

    def reached(point: str) -> None:
        nonlocal seen
        seen += point == "compute.begin"
        if point == "compute.begin" and seen == number:
            action()

    return reached


def plainly(sdk: QuantSDK, run_id: str) -> int:
    """Call the stages of a run plainly; how many files differ from those that the run has.

    The state database and the files in `CARRIED` stand as the last stage of the run found them.
    """
    from quantctl.workflows.plain import run_plainly

    request = sdk.request("alpha.full", profile=PROFILE, run_id=run_id)
    theirs = sdk.places.run_root(run_id)
    with tempfile.TemporaryDirectory() as scratch:
        ours = Path(scratch) / "summaries" / "runs" / run_id
        for name in CARRIED:
            (ours / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(theirs / name, ours / name)
        run_plainly(request, sdk.places, Path(scratch))
        files = [path for path in ours.rglob("*") if path.is_file() and path.suffix != ".jsonl"]
        return sum(path.read_bytes() != (theirs / path.relative_to(ours)).read_bytes() for path in files)


def seconds_to_stage(sdk: QuantSDK, verb: str, run_id: str) -> int:
    """Print the wall time from a worker's start, after its imports, to the first computing stage."""
    import dbos  # noqa: F401

    import quantctl.workflows.atomic  # noqa: F401
    from quantctl.workflows.execution import Executor
    from quantctl.workflows.registry import build
    from quantctl.workflows.serving import serve
    from quantctl.workflows.worker import Limits

    build("alpha.full")
    start = time.perf_counter()

    def told() -> None:
        print(time.perf_counter() - start, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    fault_points.arm(_at_stage(1, told))
    limits, stop = Limits(min_free_mb=0), threading.Event()
    if verb == "worker":
        serve(sdk.places, limits, stop, announce=lambda _line: None)
    else:
        Executor(sdk.places, limits, stop).resume(run_id)
    return 1  # it ended without computing


if __name__ == "__main__":
    gc.set_threshold(*COLLECT_AFTER)
    code = main(*sys.argv[1:])
    gc.freeze()  # as the command line does
    sys.exit(code)
