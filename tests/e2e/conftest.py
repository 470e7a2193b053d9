"""One demo for all end-to-end tests: a simulated market, both sleeves, audits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from quantctl.sdk import QuantSDK

ROOT = Path(__file__).parents[2]


def quantctl(data: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, everything below `data`."""
    return subprocess.run(
        [sys.executable, "-m", "quantctl", "--set", f"paths.data_dir={data}", *words],
        text=True, capture_output=True, timeout=600, cwd=data.parent, env=os.environ | env,
    )  # fmt: skip


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Data directory of a finished demo, and what it printed as JSON."""
    data = tmp_path_factory.mktemp("demo") / "data"
    data.mkdir()
    done = quantctl(data, "demo", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return data / "demo", json.loads(done.stdout)


@pytest.fixture(scope="session")
def demo_runs(demo: tuple[Path, dict]) -> dict[str, str]:
    """Direction -> run id of the demo's sleeves."""
    return {
        "LONG" if row["profile"].endswith("long") else "SHORT": row["run_id"] for row in demo[1]["data"]
    }


@pytest.fixture(scope="session")
def demo_sdk(demo: tuple[Path, dict]) -> QuantSDK:
    """An SDK over the demo's data directory."""
    return QuantSDK(overrides=[f"paths.data_dir={demo[0]}"], env={})
