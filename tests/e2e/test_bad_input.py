"""Every misspelling and contradiction is refused by name, on stderr and as JSON, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

LONG, SHORT = "binance_spot_rating_all_long", "binance_spot_rating_all_short"
RUN_LONG = ("run", "--profile", LONG)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("code", "words", "nearest"),
    [
        ("COMMAND_UNKNOWN", ("rn",), "'run'"),
        ("COMMAND_UNKNOWN", ("lake", "verfy"), "'verify'"),
        ("OPTION_UNKNOWN", ("run", "--profle", LONG), "'--profile'"),
        ("PROFILE_UNKNOWN", ("run", "--profile", LONG + "x"), f"'{LONG}'"),
        ("PROFILE_UNKNOWN", ("profiles", "show", "defalts"), "'defaults'"),
        ("PIPELINE_UNKNOWN", (*RUN_LONG, "--pipeline", "alpha.ful"), "'alpha.full'"),
        ("STAGE_UNKNOWN", ("stage", "schema", "selection.polcy"), "'selection.policy'"),
        ("STAGE_UNKNOWN", ("stage", "run", "foundation.gat", "--profile", LONG), "'foundation.gate'"),
        ("ARTIFACT_UNKNOWN", ("show", "base", "regim"), "'regime'"),
    ],
)
def test_an_unknown_name_exits_2_and_names_the_nearest(
    market: Any, code: str, words: tuple[str, ...], nearest: str
) -> None:
    assert f"did you mean {nearest}?" in market.refuses(code, 2, *words)


def test_an_unknown_scanner_of_a_profile_is_named_with_its_nearest(market: Any) -> None:
    sets = (f'discovery.scanners=["{LONG}g"]',)
    told = market.refuses("SCANNER_UNKNOWN", 2, "data", "candidates", "--profile", LONG, sets=sets)
    assert f"did you mean '{LONG}'?" in told


@pytest.mark.parametrize(
    ("code", "assignment", "told"),
    [
        ("SETTING_UNKNOWN", "selection.tpo_n=4", "did you mean 'top_n'?"),
        ("CONFIG_TYPE", "selection.top_n=many", "selection.top_n"),
        ("CONFIG_RANGE", "allocation.kappa_max=5001", "5000"),
        ("CONFIG_RANGE", "data.min_days_floor=501", "data.lookback_days"),
        ("CONFIG_RANGE", "ranking.direction=SHORT", "'auto', 'descending' or 'ascending'"),
        ("CONFIG_RANGE", "allocation.engine=nativ", "'cvxpy' or 'native'"),
        ("HTR_FLOOR_TOO_LOW", "htr.floor=10", "below 15"),
        ("RANK_DIRECTION_MISMATCH", "ranking.direction=ascending", "ranking.direction"),
        ("ENGINE_UNKNOWN", "features.selection_mode=v44", "did you mean 'v4'?"),
        ("FILTER_UNKNOWN", 'selection.filters=["frction"]', "did you mean 'friction'?"),
        ("RISK_PROFILE_UNKNOWN", 'allocation.risk_profiles=["hpr"]', "did you mean"),
        ("BETA_UNSUPPORTED_FOR_PROFILE", 'allocation.beta.apply_to=["erc"]', "erc"),
        ("CALENDAR_UNKNOWN", "data.calendars.BINANCE=24x8", "did you mean"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_starts(
    market: Any, code: str, assignment: str, told: str
) -> None:
    answer = _refused_before_it_starts(market, code, assignment)
    assert told in answer
    assert f"--set {assignment.partition('=')[0]}" in answer


@pytest.mark.parametrize(
    ("code", "assignment", "remedy"),
    [
        ("SCALE_UNAVAILABLE", "features.predictability_scale=calibrated", "use raw"),
        ("FILTER_UNAVAILABLE", 'selection.filters=["trend_regime"]', "use darwinian"),
        ("RANKER_UNAVAILABLE", "ranking.regime_fit=true", "use false"),
        ("ERC_LOWER_BOUND", "allocation.weight_min=0.01", "set allocation.weight_min to 0"),
    ],
)
def test_what_this_version_cannot_run_is_refused_before_anything_starts(
    market: Any, code: str, assignment: str, remedy: str
) -> None:
    answer = _refused_before_it_starts(market, code, assignment)
    assert f"remedy: {remedy}" in answer
    assert assignment.partition("=")[0] in answer


def _refused_before_it_starts(market: Any, code: str, assignment: str) -> str:
    answer: str = market.refuses(code, 2, *RUN_LONG, "--run-id", "never", sets=(assignment,))
    assert not (market.runs_dir / "never").exists()
    return answer


def test_an_override_that_is_no_assignment_is_refused(market: Any) -> None:
    market.refuses("SETTING_SYNTAX", 2, *RUN_LONG, sets=("selection.top_n",))


def test_the_sign_test_of_a_short_sleeve_cannot_be_turned_off(market: Any) -> None:
    sets = ("features.feat_directional_sign_test_gate_atomic=false",)
    market.refuses("SIGN_GATE_REQUIRED", 2, "run", "--profile", SHORT, sets=sets)


@pytest.mark.parametrize(
    ("code", "line", "body"),
    [
        ("SETTING_UNKNOWN", 4, "description: A.\nextends: defaults\nselection:\n  tpo_n: 4\n"),
        ("CONFIG_RANGE", 4, "description: A.\nextends: defaults\nhtr:\n  entropy_hard_stop: 2\n"),
        ("PROFILE_DUPLICATE_KEY", 5, "description: A.\nextends: defaults\nhtr:\n  floor: 15\n  floor: 16\n"),
        ("PROFILE_UNKNOWN", 2, "description: A.\nextends: defalts\n"),
        ("PROFILE_SYNTAX", 4, "description: A.\nextends: defaults\nhtr: [1, 2\n"),
    ],
)
def test_a_wrong_profile_is_refused_with_file_and_line(
    market: Any, tmp_path: Path, code: str, line: int, body: str
) -> None:
    (tmp_path / "mine.yaml").write_text(body)
    sets = (f"paths.profiles_dir={tmp_path}",)
    told = market.refuses(code, 2, "run", "--profile", "mine", sets=sets)
    assert f"mine.yaml:{line}" in told


@pytest.mark.parametrize(
    ("code", "exit_code", "words"),
    [
        ("PROFILE_REQUIRED", 2, ("run",)),
        ("RUN_ID_INVALID", 2, (*RUN_LONG, "--run-id", "../base")),
        ("RUN_ID_INVALID", 2, ("status", "a b")),
        ("RUN_ID_INVALID", 2, ("resume", "x" * 97)),
        ("RUN_ID_CONFLICT", 2, ("run", "--profile", SHORT, "--run-id", "base")),
        ("AS_OF_INVALID", 2, (*RUN_LONG, "--as-of", "2024-02-30")),
        ("SNAPSHOT_TOO_OLD", 3, (*RUN_LONG, "--as-of", "2024-02-25")),
        ("SNAPSHOT_UNKNOWN", 3, (*RUN_LONG, "--snapshot", "snap-20240224-000000000000")),
        ("RUN_NOT_FOUND", 3, ("status", "nobody")),
        ("RUN_NOT_FOUND", 3, ("resume", "nobody")),
        ("RUN_NOT_FOUND", 3, ("retry", "nobody")),
        ("RUN_NOT_FOUND", 3, ("cancel", "nobody")),
        ("RUN_NOT_FOUND", 3, ("ledger", "verify", "nobody")),
        ("RUN_NOT_FAILED", 2, ("retry", "base")),
        ("RUN_FINISHED", 2, ("cancel", "base")),
        ("RUN_NOT_FOUND", 3, ("resume", "nobody", "--adopt-version")),
        ("STAGE_PARAM_INVALID", 2, ("stage", "run", "selection.policy", "--param", "top_n")),
        ("URI_INVALID", 2, ("show", "quant://run")),
        ("URI_PATH_FORBIDDEN", 2, ("show", "base", "../nobody/INDEX.md")),
        ("CONFIG_TYPE", 2, ("data", "import", "nothing.csv", "--table", "bars")),
        ("USAGE", 2, ("ledger", "verify")),
    ],
)
def test_a_wrong_request_changes_nothing(
    market: Any, code: str, exit_code: int, words: tuple[str, ...]
) -> None:
    market.refuses(code, exit_code, *words)


def test_a_conflict_names_what_differs(market: Any) -> None:
    words = (*RUN_LONG, "--run-id", "base", "--pipeline", "alpha.full")
    told = market.refuses("RUN_ID_CONFLICT", 2, *words, sets=("selection.top_n=4",))
    assert "selection.top_n: 15 -> 4" in told


@pytest.mark.parametrize(
    ("code", "query"),
    [
        ("SQL_READ_ONLY", "DELETE FROM runs"),
        ("SQL_READ_ONLY", "SELECT 1; DROP VIEW runs"),
        ("SQL_READ_ONLY", "COPY runs TO 'out.csv'"),
        ("SQL_READ_ONLY", "ATTACH 'other.duckdb'"),
        ("SQL_PATH_FORBIDDEN", "SELECT * FROM read_csv('/etc/passwd')"),
        ("SQL_PATH_FORBIDDEN", "SELECT * FROM '/etc/hostname.csv'"),
        ("SQL_INVALID", "SELECT nothing FROM runs"),
        ("SQL_INVALID", "SELEKT 1"),
    ],
)
def test_sql_reads_the_house_and_nothing_else(market: Any, code: str, query: str) -> None:
    market.refuses(code, 2, "sql", query)
