"""docs/quickstart.md pasted into a shell, block after block, on a finished demo."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOC = Path(__file__).parents[2] / "docs" / "quickstart.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", DOC.read_text(), re.S)
INSTALL, *PASTED = BLOCKS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shell(demo: tuple[Path, dict], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A directory that holds a copy of the demo where the page expects it, and `quantctl` on the path."""
    root = tmp_path_factory.mktemp("quickstart")
    (root / "data").mkdir()
    shutil.copytree(demo[0], root / "data" / "demo", symlinks=True)
    command = root / "bin" / "quantctl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m quantctl "$@"\n')
    command.chmod(0o755)
    mine = {name: value for name, value in os.environ.items() if not name.startswith("TV_")}
    return root, mine | {"PATH": f"{command.parent}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def transcript(shell: tuple[Path, dict[str, str]]) -> str:
    """What one shell prints that runs every block after the installation and stops at the first failure."""
    root, env = shell
    script = "set -euo pipefail\n" + "\n".join(PASTED)
    done = subprocess.run(
        ["bash", "-c", script], cwd=root, env=env, text=True, capture_output=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_first_block_installs_and_nothing_else() -> None:
    assert INSTALL.split("\n") == ["make demo", ". .venv/bin/activate", ""]


def test_every_block_runs_as_it_is_pasted(transcript: str) -> None:
    assert "PASS" in transcript
    assert "killed" in transcript


def test_the_killed_run_ends_like_any_other(transcript: str) -> None:
    assert re.search(r"^second +ok ", transcript, re.M)
    assert re.search(r"^PASS.*  second$", transcript, re.M)


def test_the_symbols_that_the_page_explains_are_in_the_market(transcript: str) -> None:
    assert "SYMBOL_UNKNOWN" not in transcript
    assert "LEVERAGED_TOKEN" in transcript
