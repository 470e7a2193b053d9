"""cli_help and cli_read: CPU of commands that only look."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from claims import Claim

REPEATS = 7


def cpu(*words: str) -> float:
    """CPU seconds of one command."""
    process = subprocess.Popen(
        [sys.executable, "-m", "quantctl", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """Measure, print, and judge against the budget."""
    with tempfile.TemporaryDirectory() as data:
        place = ("--set", f"paths.data_dir={data}")
        cpu("--help")
        helped = [cpu("--help") for _ in range(REPEATS)]
        listed = [cpu(*place, "list") for _ in range(REPEATS)]
    return max(
        Claim("cli_help", "quantctl --help", "CPU s", helped, goal=0.2, floor=0.3).emit(),
        Claim("cli_read", "quantctl list, no runs", "CPU s", listed, goal=0.35, floor=0.5).emit(),
    )


if __name__ == "__main__":
    sys.exit(main())
