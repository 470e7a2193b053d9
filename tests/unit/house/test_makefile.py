"""Make targets: required variables, one call per line, and no second sleeve after a failed first."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
REQUIRED = {
    "flow-production": "PROFILE",
    "atomic-audit": "RUN_ID",
    "sign-test": "RUN_ID",
    "ledger-verify": "RUN_ID",
    "port-select": "RUN_ID",
    "port-optimize": "RUN_ID",
    "port-report": "RUN_ID",
}


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """A stand-in for quantctl that notes its words and fails where `fails` says so."""
    script = tmp_path / "quantctl"
    script.write_text(
        f'#!/bin/bash\necho "$*" >> {tmp_path}/calls\n'
        f'if [ -f {tmp_path}/fails ] && [[ "$*" == $(cat {tmp_path}/fails) ]]; then exit 3; fi\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def make(recorder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PROFILE", "RUN_ID", "AS_OF", "STAMP")
    }
    command = ["make", "--no-print-directory", f"QUANTCTL={recorder / 'quantctl'}", *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def calls(recorder: Path) -> list[str]:
    file = recorder / "calls"
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("target", REQUIRED)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_an_empty_required_variable_is_refused_before_anything_runs(
    recorder: Path, target: str, value: str | None
) -> None:
    name = REQUIRED[target]
    done = make(recorder, target, *([] if value is None else [f"{name}={value}"]))
    assert done.returncode == 2
    assert f"{name} is required" in done.stderr
    assert not calls(recorder)


def test_the_pair_runs_candidates_then_sleeves_then_audits_under_one_stamp(recorder: Path) -> None:
    done = make(recorder, "flow-binance-spot-rating-all-ls", "AS_OF=2022-07-15")
    assert done.returncode == 0, done.stderr
    made = calls(recorder)
    assert [words.split()[0] for words in made] == ["data", "data", "run", "run", "audit", "audit"]
    assert all("--as-of 2022-07-15" in words for words in made[:4])
    stamps = {words.split("--run-id ")[1].rsplit("_", 1)[1] for words in made[2:4]}
    assert len(stamps) == 1
    (stamp,) = stamps
    assert f"binance_spot_rating_all_long_{stamp} binance_spot_rating_all_short_{stamp}" in done.stdout


def test_flow_data_names_its_scope_and_serves_both_sleeves_by_default(recorder: Path) -> None:
    assert make(recorder, "flow-data").returncode == 0
    assert calls(recorder) == [
        f"data run --profile binance_spot_rating_all_{leg} --all-symbols --yes" for leg in ("long", "short")
    ]


def test_flow_data_of_one_profile_and_one_import(recorder: Path) -> None:
    assert make(recorder, "flow-data", "PROFILE=p", "SCOPE=import-1").returncode == 0
    assert calls(recorder) == ["data run --profile p --scope import-1"]


def test_a_failed_long_never_starts_the_short(recorder: Path) -> None:
    (recorder / "fails").write_text("run*")
    done = make(recorder, "flow-binance-spot-rating-all-ls")
    assert done.returncode == 2
    assert "Error 3" in done.stderr
    assert len([words for words in calls(recorder) if words.startswith("run")]) == 1


def test_failed_candidates_start_no_run(recorder: Path) -> None:
    (recorder / "fails").write_text("data*")
    assert make(recorder, "flow-production", "PROFILE=p").returncode == 2
    assert calls(recorder) == ["data candidates --profile p"]


def test_global_options_stand_before_the_command(recorder: Path) -> None:
    assert make(recorder, "flow-production", "PROFILE=p", "OPTIONS=--set htr.floor=16").returncode == 0
    assert calls(recorder)[1] == "--set htr.floor=16 run --profile p"


def test_the_type_check_says_why_it_is_skipped_without_links() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "core.symlinks=false" in text
    assert ".SHELLFLAGS := -eu -o pipefail -c" in text
