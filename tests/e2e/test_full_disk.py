"""A disk that is full or read-only: runs stop with exit 5, lose nothing and end with the same bytes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LONG = "binance_spot_rating_all_long"
RUN = ("run", "--profile", LONG, "--run-id", "base")
SLIM = ('allocation.risk_profiles=["hrp","equal_weight"]', "orchestration.min_free_mb=0")
Disk = Callable[[Path, int], Callable[[str], None]]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounts a small disk over a directory, with what it held and so many bytes free; returns `remount`."""
    mounted: list[Path] = []

    def mount(place: Path, free: int) -> Callable[[str], None]:
        aside = tmp_path / "aside"
        place.rename(aside)
        place.mkdir()
        used = sum((p.stat().st_size + 4095) // 4096 * 4096 + 4096 for p in aside.rglob("*"))
        command = ["mount", "-t", "tmpfs", "-o", f"size={used + free}", "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a small disk is not permitted here")
        mounted.append(place)
        shutil.copytree(aside, place, symlinks=True, dirs_exist_ok=True)
        return lambda how: subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True) and None

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_run_that_was_never_begun_is_refused_for_lack_of_space(market: Any) -> None:
    words = ("run", "--profile", LONG, "--run-id", "fresh")
    market.refuses("SPACE_SHORT", 3, *words, sets=("orchestration.min_free_mb=99999999",))
    assert not (market.runs_dir / "fresh").exists()
    market.refuses("RUN_NOT_FOUND", 3, "status", "fresh")


def test_a_run_short_of_space_stays_open_and_is_resumed(market: Any, interrupted: Any) -> None:
    short = ("orchestration.min_free_mb=99999999",)
    before = interrupted.possessions()
    refused = interrupted("resume", "base", "--json", sets=short)
    assert "quantctl resume base" in refused.is_refusal("DISK_FULL", 5)
    assert refused.document["error"]["run_id"] == "base"
    told_anew = ("/audit", "/logs/", "/config/", "/forensic_trace")
    interrupted.kept({n: sha for n, sha in before.items() if not any(part in n for part in told_anew)})
    assert interrupted.sdk.status("base").state == "INTERRUPTED"
    assert interrupted("resume", "base", "--json", sets=SLIM).exit == 0
    assert interrupted.result("base") == market.result("base")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("whose", "free", "codes"),
    [
        ("artifacts", 150_000, {"DISK_FULL"}),
        ("artifacts", 350_000, {"DISK_FULL"}),
        (".", 700_000, {"DISK_FULL", "STATE_UNREACHABLE"}),  # the state database lies on the full disk, too
    ],
)
def test_a_full_disk_stops_a_run_that_is_finished_when_there_is_space(
    fair: Any, market: Any, disk: Disk, tmp_path: Path, whose: str, free: int, codes: set[str]
) -> None:
    door = fair.copy(tmp_path)
    remount = disk(door.data / whose, free)
    stopped = door(*RUN, "--json", sets=SLIM)
    assert stopped.exit == 5, stopped.err
    code = json.loads(stopped.out)["error"]["code"]
    assert code in codes
    stopped.is_refusal(code, 5)
    assert not list(door.runs_dir.rglob(".tmp-*"))
    remount("size=64m")
    assert door.sdk.status("base").state == "INTERRUPTED"
    done = door("resume", "base", "--json", sets=SLIM)
    assert done.exit == 0, done.err
    assert door.result("base") == market.result("base")
    assert door.sdk.verify_ledger("base")["ok"]


@pytest.mark.slow
def test_a_read_only_disk_is_read_and_never_half_written(damaged: Any, disk: Disk) -> None:
    remount = disk(damaged.data, 4_000_000)
    before = damaged.possessions()
    remount("ro")
    try:
        for words in (("list",), ("status", "base"), ("show", "base"), ("ledger", "verify", "base")):
            answer = damaged(*words, "--json")
            assert answer.exit == 0, f"{words}: {answer.err}"
        for words in (("run", "--profile", LONG, "--run-id", "next"), ("data", "audit", "--run-id", "next")):
            answer = damaged(*words, "--json", sets=SLIM)
            assert answer.exit == 5, f"{words}: {answer.err}"
            answer.is_refusal(answer.document["error"]["code"], 5)
            assert answer.document["error"]["code"] in ("DISK_READ_ONLY", "STATE_UNREACHABLE")
    finally:
        remount("rw")
    assert damaged.possessions() == before
