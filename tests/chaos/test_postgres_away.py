"""The Postgres server crashes under a run: the command says so and leaves, and the run resumes exactly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from timed import TIMED

from quantctl.lake import ledger, state

DRIVE = Path(__file__).with_name("drive.py")
# A record of the run, by step and status or type: the server crashes once it is committed.
MOMENTS = {
    "the chain has begun": ("genesis", "info"),
    "the first stage computes": ("tiny.double", "intent"),
    "the first stage is booked": ("tiny.double", "success"),
    "the last stage computes": ("tiny.total", "intent"),
    "the run is closed": ("closed", "info"),
}
SECRET = "hunter2secret"
SAMPLE = ("the first stage computes", "the run is closed")


def drive(root: Path, url: str, verb: str = "run", **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DRIVE), str(root), verb, "k1"], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"TV_STATE_URL": url, "TINY_LEASE": "4"} | env,
    )  # fmt: skip


def finished(root: Path, url: str) -> tuple[dict[str, bytes], list[str]]:
    """A finished run: bytes of its artifacts, hashes of its bodies; the projection equals the ledger."""
    run = root / "artifacts" / "summaries" / "runs" / "k1"
    files = {path.relative_to(run).as_posix(): path for path in sorted(run.rglob("*")) if path.is_file()}
    kept = {n: path.read_bytes() for n, path in files.items() if n not in TIMED and not n.startswith("logs/")}
    with state.reader(url) as connection:
        assert connection is not None
        records = list(ledger.records(connection, "k1"))
    assert [record["seq"] for record in records] == list(range(len(records)))
    lines = (run / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == records
    return kept, [record["body_hash"] for record in records]


@pytest.fixture(scope="module")
def undisturbed(postgres_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    root, url = tmp_path_factory.mktemp("undisturbed"), postgres_server.database()
    process = drive(root, url)
    assert process.wait(120) == 0, process.communicate()[1]
    return finished(root, url)


def wait_for(url: str, kind: str, status: str, process: subprocess.Popen[str]) -> None:
    query = "SELECT 1 FROM run_ledger WHERE coalesce(step, type) = ? AND status = ?"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with state.reader(url) as connection:
            assert connection is not None
            if connection.execute(query, (kind, status)).fetchone() is not None:
                return
        time.sleep(0.005)
    raise AssertionError(f"{kind} {status} was never committed: {process.communicate()}")


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", [m if m in SAMPLE else pytest.param(m, marks=pytest.mark.exhaustive) for m in MOMENTS]
)
def test_a_crash_of_the_server_leaves_the_run_resumable_to_the_same_bytes(
    moment: str, undisturbed: Any, postgres_server: Any, tmp_path: Path
) -> None:
    url = postgres_server.database().replace("tests@", f"tests:{SECRET}@")  # trust: any password will do
    slow = {"TINY_SLOW": "1", "TINY_SLOW_AT": MOMENTS[moment][0]} if "computes" in moment else {}
    process = drive(tmp_path, url, **slow)
    wait_for(url, *MOMENTS[moment], process)
    postgres_server.stop("immediate")
    try:
        _, err = process.communicate(timeout=60)
    finally:
        postgres_server.start()
    if moment != "the run is closed":  # there the command may have ended already
        assert process.returncode == 5, err
        assert "STATE_UNREACHABLE" in err
    again = drive(tmp_path, url)
    assert again.wait(120) == 0, again.communicate()[1]
    assert finished(tmp_path, url) == undisturbed
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert SECRET not in err
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
