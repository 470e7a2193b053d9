"""Commands that cannot do what was asked say so by code, and leave the directory as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantctl.cli import main

LONG = "binance_spot_rating_all_long"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _refused(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """(exit code, error) of a command that changes no file; stderr tells the same as stdout."""
    before = _files(root)
    capsys.readouterr()
    exit_code = main([*words, "--json"])
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert f"error[{error['code']}] " in said.err
    assert f"remedy: {error['remedy']}" in said.err
    assert _files(root) == before
    assert error["exit"] == exit_code
    return exit_code, error


@pytest.mark.parametrize("taken", ["Makefile", "dbos-config.yaml", "profiles/mine.yaml"])
def test_init_overwrites_nothing_unless_forced(
    here: Path, capsys: pytest.CaptureFixture[str], taken: str
) -> None:
    (here / taken).parent.mkdir(exist_ok=True)
    (here / taken).write_text("mine\n")
    exit_code, error = _refused(capsys, here, "init", ".")
    assert (exit_code, error["code"]) == (2, "INIT_EXISTS")
    assert taken.partition("/")[0] in error["message"]
    assert "quantctl init --force" in error["remedy"]
    assert main(["init", ".", "--force"]) == 0
    assert (here / "profiles" / "defaults.yaml").is_file()


def test_a_failed_check_decides_the_exit_and_its_remedy_is_the_doctors(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "quantctl.sqlite").write_bytes(b"")
    exit_code, error = _refused(capsys, here, "doctor")
    assert (exit_code, error["code"]) == (3, "DOCTOR_FAILED")
    assert error["message"].startswith("stray database: ")
    assert error["remedy"].startswith("remove quantctl.sqlite")
    assert [row["name"] for row in error["findings"] if row["status"] == "fail"] == ["stray database"]


def test_a_worker_does_not_start_beside_the_database_of_another_engine(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "quantctl.sqlite").write_bytes(b"")
    assert main(["worker"]) == 2
    said = capsys.readouterr().err
    assert "error[STATE_URL_MISMATCH] the dbos command keeps another state database here" in said
    assert str(here / "quantctl.sqlite") in said
    assert "remedy: remove it, and export TV_STATE_URL=" in said
    assert [path.name for path in here.iterdir()] == ["quantctl.sqlite"]


@pytest.mark.parametrize("words", [("list",), ("worker",), ("data", "simulate")])
def test_another_kind_of_state_database_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TV_STATE_URL", "mysql://me:secret@db/quantctl")
    assert main([*words]) == 2
    said = capsys.readouterr().err
    assert "error[STATE_URL_UNSUPPORTED]" in said
    assert "'mysql'" in said
    assert "secret" not in said
    assert "unset it for the embedded database" in said
    assert _files(here).keys() <= {"data/state/worker.lock"}


@pytest.mark.parametrize("stage", ["data.import", "data.simulate", "data.features"])
def test_a_stage_that_writes_the_lake_is_not_run_by_itself(
    here: Path, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    exit_code, error = _refused(capsys, here, "stage", "run", stage, "--profile", LONG)
    assert (exit_code, error["code"]) == (2, "STAGE_NEEDS_RUN")
    assert error["message"].startswith(f"{stage} writes the lake")
    assert error["remedy"] == f"quantctl data {stage.partition('.')[2]}"


def test_an_abstract_scanner_of_a_profile_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TV_DISCOVERY__SCANNERS", '["binance_spot_base"]')
    exit_code, error = _refused(capsys, here, "data", "candidates", "--profile", LONG)
    assert (exit_code, error["code"]) == (2, "SCANNER_ABSTRACT")
    assert "binance_spot_base is abstract" in error["message"]
    assert error["remedy"] == "list one of its children"


def test_a_key_that_stands_twice_in_a_scanner_is_named_with_file_and_line(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = here / "mine" / "scanners"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text("base: binance_spot_base\nlogic: rating_all\nlimit: 5\nlimit: 50\n")
    monkeypatch.setenv("TV_PATHS__PROFILES_DIR", str(here / "mine"))
    exit_code, error = _refused(capsys, here, "data", "candidates", "--profile", LONG)
    assert (exit_code, error["code"]) == (2, "SCANNER_DUPLICATE_KEY")
    assert "own.yaml:4" in error["message"]
    assert "limit" in error["message"]
