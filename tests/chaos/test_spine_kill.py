"""What a run writes of itself when it is run, retried, repeated and started twice at once."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import DRIVE, drive, records


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reference")
    done = drive(root, "run", "k1")
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.chaos
def test_a_careless_effect_shows_up_twice(tmp_path: Path) -> None:
    """Positive control: the harness notices an effect that the runner does not guard."""
    careless = tmp_path / "careless"
    assert drive(tmp_path, "run", "k1", TINY_CARELESS=str(careless)).returncode == -signal.SIGKILL
    assert drive(tmp_path, "run", "k1", TINY_CARELESS=str(careless)).returncode == 0
    assert careless.read_text() == "once\nonce\n"


@pytest.mark.chaos
def test_a_pipeline_of_n_stages_makes_3n_plus_2_operations(reference: Path) -> None:
    with sqlite3.connect(reference / "state" / "quantctl.sqlite") as connection:
        names = [row[0] for row in connection.execute("SELECT function_name FROM operation_outputs")]
    assert len(names) == 3 * 2 + 2


@pytest.mark.chaos
def test_retry_keeps_the_chain_and_reopens_it(tmp_path: Path) -> None:
    assert drive(tmp_path, "run", "k1", "SHORT").returncode == 3
    assert drive(tmp_path, "retry", "k1").returncode == 3
    kinds = [(r["type"], r["code"]) for r in records(tmp_path, "k1")]
    assert kinds.count(("event", "REOPENED")) == 1
    assert [k for k, _ in kinds].count("closed") == 2
    assert [k for k, _ in kinds].count("genesis") == 1


@pytest.mark.chaos
def test_the_same_id_with_other_inputs_is_refused(reference: Path) -> None:
    refused = drive(reference, "run", "k1", "SHORT")
    assert refused.returncode == 2
    assert "RUN_ID_CONFLICT" in refused.stderr and "sleeve.direction" in refused.stderr


@pytest.mark.chaos
def test_two_commands_at_once_make_one_run(tmp_path: Path) -> None:
    words = [sys.executable, str(DRIVE), str(tmp_path), "run", "k1"]
    first, second = subprocess.Popen(words), subprocess.Popen(words)
    assert (first.wait(120), second.wait(120)) == (0, 0)
    assert [r["type"] for r in records(tmp_path, "k1")].count("genesis") == 1


TWO_PLACES = """
import shutil, sys, threading
from pathlib import Path
import drive
from quantctl.workflows.execution import Executor
from quantctl.workflows.worker import Limits
drive.load_tiny()
first, second = Path(sys.argv[1]), Path(sys.argv[2])
for root in (first, second):
    executor = Executor(drive.places(root), Limits(min_free_mb=1), threading.Event())
    assert executor.run(drive.request("k1", "SHORT")).state == "FAILED"
shutil.rmtree(first)
assert executor.retry("k1").attempt == 2
"""


@pytest.mark.chaos
def test_a_retry_does_not_reach_into_what_the_process_worked_on_before(tmp_path: Path) -> None:
    """Two data directories in one process; the first is gone when a run of the second is retried."""
    words = [sys.executable, "-c", TWO_PLACES, str(tmp_path / "a"), str(tmp_path / "b")]
    done = subprocess.run(words, cwd=DRIVE.parent, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "a").exists()
