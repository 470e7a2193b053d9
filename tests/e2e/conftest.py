"""One demo for all end-to-end tests: a simulated market, both sleeves, audits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import front_door
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
    return {"LONG" if row["profile"].endswith("long") else "SHORT": row["run_id"] for row in demo[1]["data"]}


@pytest.fixture(scope="session")
def demo_sdk(demo: tuple[Path, dict]) -> QuantSDK:
    """An SDK over the demo's data directory."""
    return QuantSDK(overrides=[f"paths.data_dir={demo[0]}"], env={})


@pytest.fixture(scope="session")
def fair(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The command line over a small market with candidates of both sleeves, before any run."""
    data = tmp_path_factory.mktemp("fair") / "data"
    data.mkdir()
    door = front_door.FrontDoor(data)
    for words in (
        ("simulate", "--symbols", "40", "--days", "420"),
        ("features", "--all-symbols", "--yes"),
        ("audit",),
        ("candidates", "--profile", front_door.LONG),
        ("candidates", "--profile", front_door.SHORT),
    ):
        done = door("data", *words, "--run-id", f"prepare_{words[0]}_{words[-1][-5:]}")
        assert done.exit == 0, f"{words}: {done.out}{done.err}"
    return door


@pytest.fixture(scope="session")
def market(fair: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small market with a finished run `base`. Shared: only commands that change nothing."""
    door = fair.copy(tmp_path_factory.mktemp("market"))
    done = door.run("base", *front_door.SLIM, pipeline="alpha.full")
    assert done.exit == 0, done.out + done.err
    return door


@pytest.fixture
def damaged(market: Any, tmp_path: Path) -> Any:
    """A copy of the small market and its run, to be damaged."""
    return market.copy(tmp_path)


@pytest.fixture(scope="session")
def killed(fair: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small market with the run `base` killed in its selection. Shared: to be copied."""
    door = fair.copy(tmp_path_factory.mktemp("killed"))
    words = ("run", "--profile", front_door.LONG, "--run-id", "base")
    door.kill_at("selection.policy", *words, sets=front_door.SLIM)
    return door


@pytest.fixture
def interrupted(killed: Any, tmp_path: Path) -> Any:
    """A copy of the small market with an interrupted run `base`."""
    return killed.copy(tmp_path)
