"""The command line: exit codes, suggestions, JSON, and what a read command may import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from quantctl.cli import load, main
from quantctl.commands import ROWS, Row
from quantctl.contracts.errors import DiskFault, GateFailed
from quantctl.output import error_document, table

HEAVY = (
    "cvxpy",
    "dbos",
    "pandera",
    "scipy",
    "sklearn",
    "matplotlib",
    "polars",
    "exchange_calendars",
    "httpx",
)
READ = {
    "help": ["--help"],
    "version": ["--version"],
    "list": ["list"],
    "status": ["status"],
    "show": ["show", "no_such_run"],
    "profiles list": ["profiles", "list"],
    "profiles show": ["profiles", "show", "development", "--resolved"],
    "stage help": ["stage", "--help"],
    "run help": ["run", "--help"],
    "data help": ["data", "--help"],
    "doctor url": ["doctor", "--state-url"],
    "schedule list": ["schedule", "list"],
    "notify list": ["notify", "list"],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TV_")]:
        monkeypatch.delenv(name)
    return tmp_path


def present(row: Row) -> bool:
    return find_spec(f"quantctl.commands.{row.module}") is not None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_names_a_command_that_exists(row: Row) -> None:
    command = load(row)
    assert command.name == row.name
    assert command.help or row.hidden


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["rnu"], "COMMAND_UNKNOWN", "'run'"),
        (["profiles", "lits"], "COMMAND_UNKNOWN", "'list'"),
        (["--no-colour", "list"], "OPTION_UNKNOWN", "'--no-color'"),
        (["profiles", "list", "--jsn"], "OPTION_UNKNOWN", "'--json'"),
        (["--log-level", "debgu", "profiles", "list"], "USAGE", "'debug'"),
        (["profiles", "show", "developmnet"], "PROFILE_UNKNOWN", "'development'"),
        (["--set", "htr.flor=3", "profiles", "show", "defaults", "--resolved"], "SETTING_UNKNOWN", "'floor'"),
        (["profiles", "show"], "USAGE", "'name'"),
        ([], "USAGE", "no command"),
    ],
)
def test_a_misspelling_exits_2_with_the_nearest_name(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: str, hint: str
) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert f"error[{code}] " in err
    assert hint in err
    assert "\nremedy: " in err


def test_a_failure_with_json_is_one_document_on_stdout(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profiles", "show", "nobody", "--json"]) == 2
    out = json.loads(capsys.readouterr().out)
    assert out["ok"] is False
    assert set(out["error"]) == {"code", "exit", "message", "remedy", "run_id", "artifact"}
    assert (out["error"]["code"], out["error"]["exit"]) == ("PROFILE_UNKNOWN", 2)


def test_a_success_with_json_names_its_schema(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "list", "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert out["ok"] is True
    assert out["schema"] == "quantctl.profiles/1"
    assert {row["name"] for row in out["data"]} >= {"defaults", "development"}


def test_profiles_validate_passes_for_every_shipped_profile(here: Path) -> None:
    assert main(["profiles", "validate"]) == 0


def test_profiles_validate_lists_all_findings(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "profiles").mkdir()
    (here / "profiles" / "bad.yaml").write_text(
        "htr: {floor: 2}\nselection: {max_winners: 2, filters: [x]}\n"
    )
    assert main(["profiles", "validate", "bad"]) == 2
    out = capsys.readouterr().out
    assert "bad: 3 findings" in out
    assert main(["profiles", "validate", "bad", "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["error"]["findings"]) == 3


def test_profiles_validate_finds_a_scanner_that_does_not_exist(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "profiles").mkdir()
    (here / "profiles" / "p.yaml").write_text("discovery: {scanners: [binance_spot_rating_all_lnog]}\n")
    assert main(["profiles", "validate", "p"]) == 2
    err = capsys.readouterr().err
    assert "error[SCANNER_UNKNOWN]" in err
    assert "binance_spot_rating_all_long" in err


def test_profiles_diff_prints_both_values(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["profiles", "diff", "binance_spot_rating_all_long", "binance_spot_rating_all_short", "--json"])
        == 0
    )
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)["data"]}
    assert rows["sleeve.direction"]["binance_spot_rating_all_short"] == "SHORT"


def test_profiles_show_origin_names_the_source(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--set", "htr.floor=16", "profiles", "show", "development", "--origin"]) == 0
    line = next(row for row in capsys.readouterr().out.splitlines() if row.startswith("htr.floor"))
    assert line.split() == ["htr.floor", "cli", "16"]


def test_a_warning_goes_to_stderr(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TV_STRICT_HELTH", "1")
    assert main(["profiles", "show", "development", "--resolved", "--json"]) == 0
    seen = capsys.readouterr()
    assert "warning[ENV_UNKNOWN]" in seen.err
    assert json.loads(seen.out)["ok"] is True


def test_an_error_of_our_own_exits_70(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_words: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("quantctl.profile_files.Shelf.names", broken)
    assert main(["profiles", "list"]) == 70
    assert "error[INTERNAL] ZeroDivisionError: boom" in capsys.readouterr().err


def test_an_interrupt_exits_5(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object, **_words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("quantctl.profile_files.Shelf.names", interrupted)
    assert main(["profiles", "list"]) == 5


def test_a_fault_of_the_machine_exits_5(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_words: object) -> None:
        raise DiskFault("DISK_FULL", "no space")

    monkeypatch.setattr("quantctl.profile_files.Shelf.names", full)
    assert main(["profiles", "list"]) == 5


def test_an_error_document_carries_run_and_artifact() -> None:
    error = GateFailed("SELECTION_EMPTY", "none", details={"run_id": "r", "artifact": "data/x.json"})
    assert error_document(error)["error"]["run_id"] == "r"
    assert error_document(error)["error"]["artifact"] == "data/x.json"


def test_a_table_is_aligned_and_an_empty_one_says_so() -> None:
    assert table(["a", "n"], [("xx", 1), ("y", None)]).splitlines()[2:] == ["xx  1", "y   -"]
    assert table(["a"], []) == "(none)"


@pytest.mark.parametrize("name", READ)
def test_a_read_command_imports_nothing_heavy(here: Path, name: str) -> None:
    words = READ[name]
    row = next((row for row in ROWS if row.name == words[0]), None)
    if row is not None and not present(row):
        pytest.fail(f"no module quantctl.commands.{row.module}")
    script = (
        "import sys; from quantctl.cli import main; main(sys.argv[1:]);"
        f"print('HEAVY', sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    assert "HEAVY []" in done.stderr, done.stderr


def test_help_lists_every_visible_command_without_importing_one(here: Path) -> None:
    script = (
        "import sys; from quantctl.cli import main; main(['--help']);"
        "print([m for m in sys.modules if m.startswith('quantctl.commands.')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    for row in ROWS:
        assert row.hidden or f"  {row.name}" in done.stdout


def test_init_makes_a_directory_that_doctor_accepts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "."]) == 0
    assert (here / "profiles" / "development.yaml").is_file()
    assert (here / "data" / "state" / "quantctl.sqlite").is_file()
    shipped = Path(__file__).parents[3] / "dbos-config.yaml"
    assert (here / "dbos-config.yaml").read_text() == shipped.read_text()
    assert main(["init", "."]) == 2
    assert main(["init", ".", "--force"]) == 0
    capsys.readouterr()
    assert main(["doctor", "--json"]) == 0
    checks = {row["name"]: row for row in json.loads(capsys.readouterr().out)["data"]}
    assert checks["state database"]["status"] == "ok"
    assert checks["worker"]["detail"] == "none alive"


def test_env_check_is_doctor(here: Path) -> None:
    assert main(["env-check"]) == 0


def test_doctor_prints_only_the_state_url(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--state-url"]) == 0
    assert capsys.readouterr().out == f"sqlite:///{here.resolve()}/data/state/quantctl.sqlite\n"


def test_doctor_compares_the_engine_file_with_the_state_url(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "dbos-config.yaml").write_text(
        "name: quantctl\nsystem_database_url: sqlite:///elsewhere.sqlite\n"
    )
    assert main(["doctor"]) == 0
    assert "elsewhere.sqlite" in capsys.readouterr().out
    (here / "dbos-config.yaml").write_text("system_database_url: sqlite:///data/state/quantctl.sqlite\n")
    assert main(["doctor"]) == 0
    assert "agrees with the state database" in capsys.readouterr().out


def test_doctor_fails_on_a_state_database_that_is_none(here: Path) -> None:
    (here / "data" / "state").mkdir(parents=True)
    (here / "data" / "state" / "quantctl.sqlite").write_bytes(b"not a database at all" * 100)
    assert main(["doctor"]) == 3


def test_doctor_removes_old_temporaries_only_when_asked(here: Path) -> None:
    stale, fresh = here / "data" / ".tmp-old", here / "data" / ".tmp-new"
    stale.parent.mkdir()
    stale.write_text("x")
    fresh.write_text("x")
    os.utime(stale, (1, 1))
    assert main(["doctor"]) == 0
    assert stale.exists()
    assert main(["doctor", "--fix"]) == 0
    assert not stale.exists()
    assert fresh.exists()
