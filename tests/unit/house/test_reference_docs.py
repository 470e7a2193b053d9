"""Generated pages agree with the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_reference_is_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "reference.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run `make docs`: {done.stdout}{done.stderr[-500:]}"


def test_the_mirror_prints_every_room() -> None:
    command = [sys.executable, str(ROOT / "docs" / "shape.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for room in ("contracts", "lake", "steps", "workflows", "quantctl", "tests:"):
        assert f"\n{room}" in done.stdout
