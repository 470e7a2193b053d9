"""Signals, two processes, and a worker that dies under a follower."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_runs import DRIVE, assert_equal_runs, drive, records

pytestmark = pytest.mark.chaos


def start(root: Path, *words: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DRIVE), str(root), *words], env=os.environ | env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for_intent(root: Path, run_id: str = "k1") -> None:
    path = root / "state" / "quantctl.sqlite"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if path.exists():
            try:
                with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
                    query = "SELECT 1 FROM run_ledger WHERE run_id = ? AND status = 'intent'"
                    if connection.execute(query, (run_id,)).fetchone():
                        return
            except sqlite3.OperationalError:
                pass
        time.sleep(0.05)
    raise AssertionError("no stage was opened in 30 s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_stage_finish_and_leaves_the_run_resumable(tmp_path: Path, number: int) -> None:
    process = start(tmp_path / "a", "run", "k1", TINY_SLOW="1.5")
    wait_for_intent(tmp_path / "a")
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 5, errors
    steps = [(r["step"], r["status"]) for r in records(tmp_path / "a", "k1") if r["type"] == "stage"]
    assert steps == [("tiny.double", "intent"), ("tiny.double", "success")]
    assert drive(tmp_path / "a", "resume", "k1").returncode == 0
    assert drive(tmp_path / "b", "run", "k1").returncode == 0
    assert_equal_runs(tmp_path / "a", tmp_path / "b")


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "run", "k1", TINY_SLOW="20")
    wait_for_intent(tmp_path)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 5
    assert time.monotonic() - began < 5
    assert "resume: quantctl resume k1" in output


def test_a_worker_adopts_what_a_killed_command_left(tmp_path: Path) -> None:
    process = start(tmp_path, "run", "k1", TINY_SLOW="20")
    wait_for_intent(tmp_path)
    process.kill()
    process.wait()
    worker = start(tmp_path, "worker", "w")
    try:
        wait_until_finished(tmp_path)
    finally:
        worker.send_signal(signal.SIGTERM)
        output, errors = worker.communicate(timeout=30)
    assert worker.returncode == 0, errors
    assert "adopts k1" in output


def test_a_follower_takes_over_when_the_worker_is_killed(tmp_path: Path) -> None:
    worker = start(tmp_path, "worker", "w", TINY_SLOW="20")
    time.sleep(2.0)
    follower = start(tmp_path, "run", "k1")
    wait_for_intent(tmp_path)
    worker.kill()
    worker.wait()
    output, errors = follower.communicate(timeout=60)
    assert follower.returncode == 0, errors
    assert "SUCCESS" in output
    assert [r["type"] for r in records(tmp_path, "k1")].count("genesis") == 1


def wait_until_finished(root: Path) -> None:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        with sqlite3.connect(root / "state" / "quantctl.sqlite") as connection:
            if connection.execute("SELECT 1 FROM runs WHERE state = 'SUCCESS'").fetchone():
                return
        time.sleep(0.1)
    raise AssertionError("the run was not finished in 40 s")
