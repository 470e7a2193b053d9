"""The real pipeline, killed at random instants and resumed, equals an undisturbed run of the same id."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from timed import TIMED

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
PROFILE = "binance_spot_rating_all_short"
RUN_ID = "kill_me"
KILLS = 30


def command(data: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "quantctl", "--set", f"paths.data_dir={data}", *words]


def quantctl(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(data, *words), text=True, capture_output=True, timeout=300, cwd=data.parent)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated market with candidates; runs are made in copies of it."""
    data = tmp_path_factory.mktemp("market") / "data"
    data.mkdir()
    for words in (
        ("data", "simulate"),
        ("data", "features", "--all-symbols", "--yes"),
        ("data", "audit"),
        ("data", "candidates", "--profile", PROFILE),
    ):
        done = quantctl(data, *words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return data


def copy_of(market: Path, root: Path) -> Path:
    shutil.copytree(market, root / "data")
    return root / "data"


@pytest.fixture(scope="module")
def reference(market: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = copy_of(market, tmp_path_factory.mktemp("reference"))
    done = quantctl(data, "run", "--profile", PROFILE, "--run-id", RUN_ID)
    assert done.returncode == 0, done.stdout + done.stderr
    return data


def artifacts(data: Path) -> dict[str, bytes]:
    run = data / "artifacts" / "summaries" / "runs" / RUN_ID
    files = {path.relative_to(run).as_posix(): path for path in sorted(run.rglob("*")) if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in files.items()
        if name not in TIMED and not name.startswith("logs/")
    }


def bodies(data: Path) -> list[tuple[int, str]]:
    with sqlite3.connect(data / "state" / "quantctl.sqlite") as connection:
        rows = connection.execute(
            "SELECT seq, body_hash FROM run_ledger WHERE run_id = ? ORDER BY seq", (RUN_ID,)
        )
        return list(rows)


def live_until(data: Path, records: int, delay: float) -> int:
    """Run until the ledger holds so many records and a moment longer, then SIGKILL.

    Returns the exit code, 0 when the run finished first. Progress and not the clock chooses the
    instant, so that a slow machine is killed all over the run too, and not only while it starts.
    """
    process = subprocess.Popen(
        command(data, "run", "--profile", PROFILE, "--run-id", RUN_ID), cwd=data.parent,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and _count(data) < records:
        time.sleep(0.02)
    try:
        return process.wait(delay)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return process.wait()


def _count(data: Path) -> int:
    try:
        return len(bodies(data))
    except sqlite3.OperationalError:
        return 0


class LiveReader(threading.Thread):
    """Opens the catalogue read-only again and again; an error of a query is kept."""

    def __init__(self, catalog: Path) -> None:
        super().__init__(daemon=True)
        self.catalog, self.errors, self.reads = catalog, [], 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.05):
            if not self.catalog.exists():
                continue
            try:
                with duckdb.connect(str(self.catalog), read_only=True) as connection:
                    gaps = connection.execute(
                        "SELECT run_id FROM ledger GROUP BY run_id HAVING count(*) <> max(seq) + 1"
                    ).fetchall()
                assert not gaps
                self.reads += 1
            except (duckdb.Error, AssertionError) as problem:
                self.errors.append(problem)


@pytest.mark.exhaustive
def test_thirty_random_kills_leave_the_same_run(market: Path, reference: Path, tmp_path: Path) -> None:
    dice = random.Random(20260122)
    expected, expected_bodies = artifacts(reference), bodies(reference)
    kills, attempt = 0, 0
    while kills < KILLS:
        attempt += 1
        data = copy_of(market, tmp_path / str(attempt))
        reader = LiveReader(data / "catalog.duckdb")
        reader.start()
        while True:  # until it finishes: kills that come after the last record are kills too
            starting = dice.random() < 0.2
            last = len(expected_bodies)
            target = 0 if starting else dice.randint(min(_count(data) + 1, last), last)
            code = live_until(data, target, dice.uniform(0.0, 3.0 if starting else 0.4))
            if code == 0:
                break
            assert code == -signal.SIGKILL, code
            kills += 1
        reader.done.set()
        reader.join()
        assert reader.errors == []
        assert bodies(data) == expected_bodies
        assert artifacts(data) == expected
        shutil.rmtree(data)
    print(json.dumps({"kills": kills, "runs": attempt, "bytes": sum(map(len, expected.values()))}))


def test_two_run_ids_differ_only_in_what_names_the_run(market: Path, tmp_path: Path) -> None:
    data = copy_of(market, tmp_path)
    for run_id in ("first", "second"):
        assert quantctl(data, "run", "--profile", PROFILE, "--run-id", run_id).returncode == 0
    weights = [
        json.loads((data / f"artifacts/summaries/runs/{run_id}/data/portfolio_flattened.json").read_text())
        for run_id in ("first", "second")
    ]
    assert weights[0]["profiles"] == weights[1]["profiles"]


@pytest.mark.parametrize("seed", ["0", "4242"])
def test_hash_seed_and_threads_do_not_reach_an_artifact(
    market: Path, reference: Path, tmp_path: Path, seed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", seed)
    monkeypatch.setenv("POLARS_MAX_THREADS", "1" if seed == "0" else "4")
    data = copy_of(market, tmp_path)
    assert quantctl(data, "run", "--profile", PROFILE, "--run-id", RUN_ID).returncode == 0
    assert artifacts(data) == artifacts(reference)
    assert bodies(data) == bodies(reference)


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


def test_a_changed_artifact_stops_a_resume_with_its_name(market: Path, tmp_path: Path) -> None:
    data = copy_of(market, tmp_path)
    matrix = data / "artifacts/summaries/runs" / RUN_ID / "data/returns_matrix.parquet"
    process = subprocess.Popen(
        command(data, "run", "--profile", PROFILE, "--run-id", RUN_ID), cwd=data.parent,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ),
    )  # fmt: skip
    wait_for(lambda: matrix.exists() and _has(data, "step = 'selection.ingestion' AND status = 'success'"))
    process.kill()
    process.wait()
    assert not _has(data, "type = 'closed'"), "the run was faster than the kill"
    matrix.write_bytes(matrix.read_bytes()[:-1] + b"x")
    resumed = quantctl(data, "resume", RUN_ID)
    assert resumed.returncode == 3, resumed.stderr
    assert "ARTIFACT_CORRUPT" in resumed.stderr
    assert "returns_matrix" in resumed.stderr


def _has(data: Path, where: str) -> bool:
    """Whether the ledger of the run (the market has runs of its own) holds such a record."""
    query = f"SELECT 1 FROM run_ledger WHERE run_id = ? AND {where}"
    try:
        with sqlite3.connect(f"file:{data}/state/quantctl.sqlite?mode=ro", uri=True) as connection:
            return connection.execute(query, (RUN_ID,)).fetchone() is not None
    except sqlite3.OperationalError:
        return False
