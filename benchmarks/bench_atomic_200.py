"""atomic_200: a whole atomic run of 200 symbols x 800 daily bars, CPU of its process tree and peak memory.

Interpreter start, imports, durable checkpoints, gates, ledger and report are included. `warm` has the
null tables; `cold` is measured with an empty cache. The reference engine has its own line. Bytecode is
cached, as on any machine that ran the command before, even if this environment forbids to write it.
Where the time goes stands below the claims.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from claims import Claim

PROFILE = "binance_spot_rating_all_long"
REPEATS = 3


def quantctl(data: Path, *words: str) -> tuple[float, float]:
    """CPU seconds and peak megabytes of one command."""
    command = [sys.executable, "-m", "quantctl", "--set", f"paths.data_dir={data}", *words]
    bytecode = {"PYTHONPYCACHEPREFIX": str(data.parent / "bytecode")}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | bytecode
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        said = process.stderr.read().decode() if process.stderr else ""
        raise SystemExit(f"{' '.join(words)} failed: {said}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def market(data: Path) -> None:
    """200 simulated symbols x 800 days, with features, health and candidates."""
    quantctl(data, "data", "simulate", "--symbols", "200", "--days", "800")
    quantctl(data, "data", "features", "--all-symbols", "--yes")
    quantctl(data, "data", "audit")
    quantctl(data, "data", "candidates", "--profile", PROFILE)


def measured(
    data: Path, repeats: int, *, cold: bool = False, engine: str = "native"
) -> tuple[list[float], list[float]]:
    """CPU and memory of `repeats` runs; cold ones begin without the null tables."""
    seconds, megabytes = [], []
    for turn in range(repeats):
        if cold:
            shutil.rmtree(data / "cache", ignore_errors=True)
        run_id = f"{engine}_{'cold' if cold else 'warm'}_{turn}"
        chosen = ("--set", f"allocation.engine={engine}")
        cpu, peak = quantctl(data, *chosen, "run", "--profile", PROFILE, "--run-id", run_id)
        seconds.append(cpu)
        megabytes.append(peak)
    return seconds, megabytes


def stages(data: Path, run_id: str) -> str:
    """Seconds of wall time per stage of a run, as its spans have them."""
    command = [sys.executable, "-m", "quantctl", "--set", f"paths.data_dir={data}", "sql"]
    query = f"SELECT stage, seconds FROM stages WHERE run_id = '{run_id}' ORDER BY intent_seq"
    return subprocess.run([*command, query], capture_output=True, text=True, check=True).stdout


def workload(engine: str) -> str:
    """What is run, in words."""
    return f"200 symbols x 800 bars, engine {engine}, nine risk profiles, no walk-forward"


def main() -> int:
    """Measure, print, and judge against the budget."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        data.mkdir()
        market(data)
        quantctl(data, "run", "--profile", PROFILE, "--run-id", "bytecode")
        cold, _ = measured(data, 1, cold=True)
        warm, peak = measured(data, REPEATS)
        readable, _ = measured(data, REPEATS, engine="cvxpy")
        codes = [
            Claim("atomic_200", workload("native"), "CPU s", warm, goal=3.0, floor=5.0).emit(),
            Claim(
                "atomic_200_cold", workload("native"), "CPU s", cold, goal=4.5, floor=6.5, cold=True
            ).emit(),
            Claim("atomic_200_cvxpy", workload("cvxpy"), "CPU s", readable, goal=6.0, floor=6.0).emit(),
            Claim("atomic_rss", workload("native"), "MB", peak, goal=400.0, floor=500.0).emit(),
        ]
        print(stages(data, "native_warm_0"))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
