"""A fork killed at every point of what it takes over, and inside its own stage, ends as any other."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import wish_door
from harness.sampling import sampled

pytestmark = pytest.mark.chaos
FORK = ("fork", "k1", "--from-stage", "tiny.total", "--run-id", "f1")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run `k1`. Shared: to be copied with its state."""
    door = wish_door.Door(wish_door.tiny_door.prepared(tmp_path_factory.mktemp("fork")).data)
    done = door(*wish_door.run_words())
    assert done.returncode == 0, done.stderr
    return door


def copied(source: Any, root: Path) -> Any:
    """The same lake, runs and state elsewhere: what a fork says of its source is the same there."""
    shutil.copytree(source.data, root / "data", symlinks=True)
    return wish_door.Door(root / "data")


@pytest.fixture(scope="module")
def reference(source: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What an undisturbed fork leaves."""
    door = copied(source, tmp_path_factory.mktemp("reference"))
    done = door(*FORK)
    assert done.returncode == 0, done.stderr
    return door.result("f1")


def test_a_fork_of_the_tiny_pipeline_runs_only_its_own_stage(reference: Any, source: Any) -> None:
    files, bodies = reference
    assert files["data/tiny.parquet"] == source.result("k1")[0]["data/tiny.parquet"]
    assert len(bodies) == len(set(bodies))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "after"),
    sampled([
        ("fork.linking", 0), ("fork.linked", 0), ("fork.linking", 1), ("fork.linked", 1),
        ("transaction.begin", 1), ("transaction.filled", 0), ("transaction.filled", 1),
        ("transaction.committed", 1), ("transaction.checkpointed", 0), ("transaction.checkpointed", 1),
        ("transaction.filled", 2), ("compute.begin", 0), ("compute.ended", 0), ("compute.checkpointed", 0),
        ("transaction.filled", 3), ("transaction.filled", 4), ("transaction.committed", 4), ("life.ended", 0),
        ("append.written", 1), ("projection.begin", 0),
    ], [("fork.linked", 0), ("transaction.filled", 1), ("transaction.committed", 1), ("compute.ended", 0)]),
)  # fmt: skip
def test_a_killed_fork_is_resumed_to_the_bytes_of_an_undisturbed_one(
    source: Any, reference: Any, tmp_path: Path, point: str, after: int
) -> None:
    door = copied(source, tmp_path)
    killed = door(*FORK, DIE_AT=point, DIE_AFTER=str(after))
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    done = door("resume", "f1") if door.records("f1") else door(*FORK)
    assert done.returncode == 0, done.stderr
    assert door.result("f1") == reference
    wish_door.each_record_once(door.records("f1"))
    assert door("ledger", "verify", "f1", "k1").returncode == 0


def test_a_source_that_changed_between_fork_and_link_fails_the_fork_and_writes_no_stage(
    source: Any, tmp_path: Path
) -> None:
    door = copied(source, tmp_path)
    killed = door(*FORK, DIE_AT="fork.linking")
    assert killed.returncode == -signal.SIGKILL
    path = door.root("k1") / "data" / "tiny.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    done = door("resume", "f1", "--json")
    assert done.returncode == 3
    assert "ARTIFACT_CORRUPT" in done.stdout
    assert {r["status"] for r in door.records("f1")} == {"info", "skipped"}
    told = door("retry", "f1", "--json")
    assert (told.returncode, "RETRY_NOTHING_BEGUN" in told.stdout) == (2, True)
