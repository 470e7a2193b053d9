"""The runbooks pasted into a shell, block after block, in an empty directory, as a new operator would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


def pasted(page: str, root: Path) -> str:
    """What one shell prints that runs every `sh` block of a page and stops at the first failure."""
    blocks = re.findall(r"```sh\n(.*?)```", (RUNBOOKS / page).read_text(), re.S)
    assert blocks
    command = root / "bin" / "quantctl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m quantctl "$@"\n')
    command.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if not name.startswith("TV_")}
    (root / "desk").mkdir()
    done = subprocess.run(
        ["bash", "-c", "set -euo pipefail\n" + "\n".join(blocks)], cwd=root / "desk", text=True, timeout=600,
        env=env | {"PATH": f"{command.parent}:{os.environ['PATH']}"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def test_the_runbook_of_schedules_runs_as_it_is_pasted(tmp_path: Path) -> None:
    told = pasted("schedules.md", tmp_path)
    assert len(re.findall(r"^nightly_data +added", told, re.M)) == 2
    assert re.search(r"^nightly_data +unchanged", told, re.M)
    assert re.search(r"^nightly_long +alpha.full +after nightly_data +\d{4}-", told, re.M)
    assert re.search(r"^told (FAILED|SUCCESS)$", told, re.M)
    assert re.search(r"^told +(FAILED|SUCCESS) +command +SENT +1", told, re.M)


def test_the_runbook_of_incidents_runs_as_it_is_pasted(tmp_path: Path) -> None:
    told = pasted("incidents.md", tmp_path)
    assert re.search(r"^INTERRUPTED at .*; resume: quantctl resume cut$", told, re.M)
    assert re.search(r"^interrupted runs +warn +cut at ", told, re.M)
    assert re.search(r"^PASS.*  cut$", told, re.M)
    assert re.search(r"^bent +BROKEN .* LEDGER_ARTIFACT +data/returns_matrix.parquet is changed", told, re.M)
    assert "error[ARTIFACT_CORRUPT]" in told
    assert re.search(r"^PASS.*  bent$", told, re.M)
    assert re.search(r"^bent +ok ", told, re.M)
    assert "error[SPACE_SHORT]" in told
    assert "error[RUN_UNRECORDED]" in told
    assert re.search(r"^SUCCESS, attempt 1$", told, re.M)
    assert "error[STATE_UNREACHABLE]" in told
    assert "a worker takes it: quantctl worker" in told
    assert re.search(r"^PASS.*  later$", told, re.M)
