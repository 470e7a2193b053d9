"""An artifact that changes under a run: named by its code at the stage that reads it, curable by a retry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import front_door
import pytest
import tiny_door
from harness.sampling import sampled

pytestmark = [pytest.mark.chaos, pytest.mark.slow]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_door.prepared(tmp_path_factory.mktemp("lake"))


def cut_in(stage: str, lake: Any, root: Path, pipeline: str = "tiny.full") -> Any:
    """A run killed in its second stage, after the first one has written."""
    door = lake.copy(root)
    door.killed_in(stage, *tiny_door.run_words(pipeline=pipeline))
    return door


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], None]] = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
    "directory": make_directory,
}


def error_of(done: Any) -> dict[str, Any]:
    return json.loads(done.stdout)["error"]


@pytest.mark.parametrize("how", sampled(DAMAGE, ["flipped", "gone"]))
def test_a_stage_that_reads_a_changed_artifact_stops_with_its_name(
    lake: Any, tmp_path: Path, how: str
) -> None:
    door = cut_in("tiny.total", lake, tmp_path)
    DAMAGE[how](door.root() / "data" / "tiny.parquet")
    done = door("resume", "k1", "--json")
    assert done.returncode == 3, done.stderr
    error = error_of(done)
    assert error["code"] == "ARTIFACT_CORRUPT"
    assert "tiny_doubled" in error["message"]
    assert "quantctl retry k1 --from-stage tiny.double" in error["remedy"]
    assert door("status", "k1", "--exit-code").returncode == 3


@pytest.mark.parametrize("how", sampled(DAMAGE, ["cut", "directory"]))
def test_a_changed_artifact_that_only_a_gate_reads_is_the_same_error_with_a_verdict(
    lake: Any, tmp_path: Path, how: str
) -> None:
    door = cut_in("tiny.blind", lake, tmp_path, "tiny.gated")
    DAMAGE[how](door.root() / "data" / "tiny.parquet")
    done = door("resume", "k1", "--json")
    assert done.returncode == 3, done.stderr
    assert error_of(done)["code"] == "ARTIFACT_CORRUPT"
    verdict = json.loads((door.root() / "data" / "gates" / "tiny_late.json").read_bytes())
    assert (verdict["status"], verdict["findings"][0]["code"]) == ("FAIL", "ARTIFACT_CORRUPT")
    gates = [(r["code"], r["status"]) for r in door.records() if r["type"] == "gate"]
    assert gates[-1] == ("ARTIFACT_CORRUPT", "failed")


def test_a_restored_artifact_is_accepted_by_a_plain_retry(lake: Any, tmp_path: Path) -> None:
    door = cut_in("tiny.total", lake, tmp_path)
    path = door.root() / "data" / "tiny.parquet"
    kept = path.read_bytes()
    flip(path)
    assert door("resume", "k1").returncode == 3
    assert door("retry", "k1").returncode == 3  # still changed
    path.write_bytes(kept)
    assert door("retry", "k1").returncode == 0
    assert door("ledger", "verify", "k1").returncode == 0
    assert not [r for r in door.records() if r["code"] == "SUPERSEDED_CORRUPT"]


@pytest.mark.parametrize("how", sampled(["flipped", "gone"], ["flipped"]))
def test_a_retry_from_the_writer_notes_the_change_and_the_ledger_verifies(
    lake: Any, tmp_path: Path, how: str
) -> None:
    door = cut_in("tiny.total", lake, tmp_path)
    path = door.root() / "data" / "tiny.parquet"
    kept = path.read_bytes()
    DAMAGE[how](path)
    assert door("resume", "k1").returncode == 3
    done = door("retry", "k1", "--from-stage", "tiny.double")
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == kept
    events = [r for r in door.records() if r["code"] == "SUPERSEDED_CORRUPT"]
    assert [(r["type"], r["step"], r["attempt"]) for r in events] == [("event", "tiny.double", 2)]
    assert events[0]["data"]["path"] == "attempts/1/data/tiny.parquet"
    report = json.loads(door("ledger", "verify", "k1", "--json").stdout)
    verdict = report["data"][0] if isinstance(report["data"], list) else report["data"]
    assert [(f["level"], f["code"]) for f in verdict["findings"]] == [("WARN", "SUPERSEDED_CORRUPT")]
    if how == "flipped":  # what is noted is that one change, not a licence for others
        flip(door.root() / "attempts" / "1" / "data" / "tiny.parquet")
        flip(door.root() / "attempts" / "1" / "data" / "gates" / "tiny.json")
        assert door("ledger", "verify", "k1").returncode == 1


def test_a_run_of_the_market_passes_its_ledger_gate_after_such_a_retry(interrupted_market: Any) -> None:
    door = interrupted_market
    flip(door.runs_dir / "base" / "data" / "returns_matrix.parquet")
    stopped = door("resume", "base", "--json", sets=SLIM)
    stopped.is_refusal("ARTIFACT_CORRUPT", 3)
    done = door("retry", "base", "--from-stage", "selection.ingestion", "--json", sets=SLIM)
    assert done.exit == 0, done.err
    assert "SUPERSEDED_CORRUPT" in [
        code for (code,) in door.sdk.query_rows("SELECT code FROM ledger WHERE run_id = 'base'")[1]
    ]
    assert door.sdk.verify_ledger("base")["ok"]
    audited = door("audit", "atomic", "base", "--json")
    assert audited.exit == 0, audited.err


SLIM = ('allocation.risk_profiles=["hrp","equal_weight"]', "orchestration.min_free_mb=0")


@pytest.fixture
def interrupted_market(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A run of the small market, killed when its second selection stage opens."""
    data = request.getfixturevalue("small_market")
    shutil.copytree(data, tmp_path / "data", symlinks=True)
    door = front_door.FrontDoor(tmp_path / "data")
    words = ("run", "--profile", front_door.LONG, "--run-id", "base")
    door.kill_at("selection.policy", *words, sets=SLIM)
    return door


@pytest.fixture(scope="module")
def small_market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("market") / "data"
    data.mkdir()
    door = front_door.FrontDoor(data)
    for words in (
        ("simulate", "--symbols", "40", "--days", "420"), ("features", "--all-symbols", "--yes"),
        ("audit",), ("candidates", "--profile", front_door.LONG),
    ):  # fmt: skip
        done = door("data", *words, "--run-id", f"prepare_{words[0]}")
        assert done.exit == 0, f"{words}: {done.out}{done.err}"
    return data
