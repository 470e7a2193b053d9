"""Runs of the tiny pipeline over SQLite, driven in processes of their own, and what they left."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from timed import TIMED

DRIVE = Path(__file__).with_name("drive.py")


def drive(root: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, str(DRIVE), str(root), *words], env=os.environ | env, text=True,
        capture_output=True, timeout=120,
    )  # fmt: skip


def records(root: Path, run_id: str) -> list[dict]:
    """The ledger of a run."""
    with sqlite3.connect(root / "state" / "quantctl.sqlite") as connection:
        rows = connection.execute("SELECT record FROM run_ledger WHERE run_id = ? ORDER BY seq", (run_id,))
        return [json.loads(row[0]) for row in rows]


def artifacts(root: Path, run_id: str) -> dict[str, bytes]:
    """The files of a run that two equal runs have in common."""
    run = root / "artifacts" / "summaries" / "runs" / run_id
    files = (path for path in sorted(run.rglob("*")) if path.is_file())
    table = {path.relative_to(run).as_posix(): path.read_bytes() for path in files}
    return {k: v for k, v in table.items() if k not in TIMED and not k.startswith("logs/")}


def assert_equal_runs(root: Path, reference_root: Path) -> None:
    """Two runs `k1` have the same bytes and records, none of them missing, and the same audit file."""
    assert artifacts(root, "k1") == artifacts(reference_root, "k1")
    ours, theirs = records(root, "k1"), records(reference_root, "k1")
    assert [r["body_hash"] for r in ours] == [r["body_hash"] for r in theirs]
    assert [r["seq"] for r in ours] == list(range(len(ours)))
    lines = (root / "artifacts/summaries/runs/k1/audit.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ours
