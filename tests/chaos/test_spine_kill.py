"""A run killed anywhere and resumed equals one that was never interrupted."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

DRIVE = Path(__file__).with_name("drive.py")
TIMED = {"audit.jsonl", "audit_head.json", "config/resolved_manifest.json", "forensic_trace.json"}
STRIDE, SEED = 5, 0


def drive(root: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DRIVE), str(root), *words], env=os.environ | env, text=True,
        capture_output=True, timeout=120,
    )  # fmt: skip


def artifacts(root: Path, run_id: str) -> dict[str, bytes]:
    run = root / "artifacts" / "summaries" / "runs" / run_id
    files = (path for path in sorted(run.rglob("*")) if path.is_file())
    table = {path.relative_to(run).as_posix(): path.read_bytes() for path in files}
    return {k: v for k, v in table.items() if k not in TIMED and not k.startswith("logs/")}


def records(root: Path, run_id: str) -> list[dict]:
    with sqlite3.connect(root / "state" / "quantctl.sqlite") as connection:
        rows = connection.execute("SELECT record FROM run_ledger WHERE run_id = ? ORDER BY seq", (run_id,))
        return [json.loads(row[0]) for row in rows]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    root = tmp_path_factory.mktemp("reference")
    tally = root / "tally"
    done = drive(root, "run", "k1", TINY_TALLY=str(tally))
    assert done.returncode == 0, done.stderr
    return root, int(tally.read_text())


def assert_equal_runs(root: Path, reference_root: Path) -> None:
    assert artifacts(root, "k1") == artifacts(reference_root, "k1")
    ours, theirs = records(root, "k1"), records(reference_root, "k1")
    assert [r["body_hash"] for r in ours] == [r["body_hash"] for r in theirs]
    assert [r["seq"] for r in ours] == list(range(len(ours)))
    lines = (root / "artifacts/summaries/runs/k1/audit.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ours


def kill_and_resume(root: Path, point: int, reference_root: Path) -> None:
    killed = drive(root, "run", "k1", TINY_KILL_AT=str(point))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = drive(root, "run", "k1")
    assert resumed.returncode == 0, resumed.stderr
    assert_equal_runs(root, reference_root)


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.parametrize(
    "first", [SEED, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in range(STRIDE) if n != SEED)]
)
def test_kill_at_every_effect_leaves_the_same_run(
    first: int, reference: tuple[Path, int], tmp_path: Path
) -> None:
    """One of STRIDE interleaved samples; together, `make test-kill`, they are all effects."""
    root, points = reference
    assert points > 40
    for point in range(1 + first, points + 1, STRIDE):
        kill_and_resume(tmp_path / str(point), point, root)


@pytest.mark.chaos
def test_a_careless_effect_shows_up_twice(tmp_path: Path) -> None:
    """Positive control: the harness notices an effect that the runner does not guard."""
    careless = tmp_path / "careless"
    assert drive(tmp_path, "run", "k1", TINY_CARELESS=str(careless)).returncode == -signal.SIGKILL
    assert drive(tmp_path, "run", "k1", TINY_CARELESS=str(careless)).returncode == 0
    assert careless.read_text() == "once\nonce\n"


@pytest.mark.chaos
def test_a_pipeline_of_n_stages_makes_3n_plus_2_operations(reference: tuple[Path, int]) -> None:
    root, _ = reference
    with sqlite3.connect(root / "state" / "quantctl.sqlite") as connection:
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
def test_the_same_id_with_other_inputs_is_refused(reference: tuple[Path, int]) -> None:
    root, _ = reference
    refused = drive(root, "run", "k1", "SHORT")
    assert refused.returncode == 2
    assert "RUN_ID_CONFLICT" in refused.stderr and "sleeve.direction" in refused.stderr


@pytest.mark.chaos
def test_two_commands_at_once_make_one_run(tmp_path: Path) -> None:
    words = [sys.executable, str(DRIVE), str(tmp_path), "run", "k1"]
    first, second = subprocess.Popen(words), subprocess.Popen(words)
    assert (first.wait(120), second.wait(120)) == (0, 0)
    assert [r["type"] for r in records(tmp_path, "k1")].count("genesis") == 1
