"""Forks through the command line: what is kept, what is run, what is refused, and how it reads afterwards."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from quantctl.lake.lock import WorkerLock

SPACE = "orchestration.min_free_mb=0"
PROFILES = 'allocation.risk_profiles=["hrp"]'
REGIME = ("fork", "base", "--from-stage", "allocation.regime")


def kept_files(door: Any, run_id: str) -> list[str]:
    """Files of the stages that a fork keeps, as its ledger names them."""
    records = [r for r in door.sdk.ledger(run_id) if r["type"] == "stage" and "kept_from" in r["data"]]
    return [output["path"] for record in records for output in record["outputs"]]


def of_stages(door: Any, run_id: str, *, kept: bool) -> list[tuple[str, str]]:
    records = [r for r in door.sdk.ledger(run_id) if r["type"] == "stage"]
    return [(r["step"], r["status"]) for r in records if ("kept_from" in r["data"]) == kept]


@pytest.fixture(scope="module")
def forked(market: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small market with `base` and its fork `other`. Shared: only commands that change nothing."""
    door = market.copy(tmp_path_factory.mktemp("forked"))
    done = door(*REGIME, "--run-id", "other", "--set", PROFILES, "--json", sets=(SPACE,))
    assert done.exit == 0, done.out + done.err
    return door


def test_a_fork_keeps_the_stages_before_and_runs_the_others_under_its_own_settings(forked: Any) -> None:
    stages = [stage for stage, _ in of_stages(forked, "base", kept=False)][::2]
    first = stages.index("allocation.regime")
    assert [s for s, _ in of_stages(forked, "other", kept=True)][::2] == stages[:first]
    assert [s for s, _ in of_stages(forked, "other", kept=False)][::2] == stages[first:]
    solved = forked.file("other", "data/portfolio_optimized_v2.json")["profiles"]
    assert list(solved) == ["hrp"]
    manifest = forked.file("other", "config/resolved_manifest.json")
    source = forked.file("base", "config/resolved_manifest.json")
    assert manifest["settings"]["allocation"]["risk_profiles"] == ["hrp"]
    assert manifest["origins"]["allocation.risk_profiles"] == "cli"
    assert (manifest["snapshot"], manifest["as_of"]) == (source["snapshot"], source["as_of"])
    assert manifest["forked_from"]["run_id"] == "base"
    assert "forked_from" not in source


def test_kept_files_are_the_bytes_of_the_source_under_a_second_name(forked: Any) -> None:
    paths = kept_files(forked, "other")
    assert len(paths) > 15
    for path in paths:
        one, other = forked.runs_dir / "base" / path, forked.runs_dir / "other" / path
        assert os.path.samefile(one, other), path


def test_the_ledger_of_a_fork_says_where_each_kept_record_stands(forked: Any) -> None:
    records = list(forked.sdk.ledger("other"))
    event = records[1]
    assert (event["type"], event["code"], event["data"]["run_id"]) == ("event", "FORKED_FROM", "base")
    source = {record["seq"]: record for record in forked.sdk.ledger("base")}
    assert source[event["data"]["seq"]]["hash"] == event["data"]["head_hash"]
    kept = [record for record in records if "kept_from" in record["data"]]
    assert kept and [r["type"] for r in records].count("genesis") == 1
    for record in kept:
        pointer = record["data"]["kept_from"]
        theirs = source[pointer["seq"]]
        assert (pointer["run_id"], pointer["hash"]) == ("base", theirs["hash"])
        for key in ("type", "status", "step", "code", "inputs", "outputs"):
            assert record[key] == theirs[key]


def test_a_fork_passes_verification_and_the_combined_audit(forked: Any) -> None:
    assert forked("ledger", "verify", "other", "base", "--json").exit == 0
    audited = forked("audit", "atomic", "other", "--json")
    assert audited.exit == 0, audited.out
    signs = forked("audit", "sign-test", "other", "--json")
    assert signs.exit == 0, signs.out
    index = (forked.runs_dir / "other" / "INDEX.md").read_text()
    assert "forked from `base` at `allocation.regime`" in index


def test_a_verdict_of_a_foreign_run_is_still_a_difference(forked: Any, tmp_path: Path) -> None:
    door = forked.copy(tmp_path)
    path = door.runs_dir / "other" / "data" / "directional_sign_test_pre_opt.json"
    foreign = path.read_bytes().replace(b'"run_id":"base"', b'"run_id":"else"')
    path.unlink()
    path.write_bytes(foreign)
    told = door("audit", "atomic", "other", "--json")
    assert told.exit == 1
    assert "AUDIT_DIVERGENCE" in told.out


def test_views_show_where_a_fork_came_from_and_what_it_keeps(forked: Any) -> None:
    query = "SELECT stage, name FROM lineage WHERE run_id = 'other' AND role = 'forked_from'"
    assert forked.sdk.query_rows(query)[1] == [("allocation.regime", "base")]
    both = "SELECT count(DISTINCT name) FROM artifacts WHERE run_id = '{}' AND stage LIKE 'selection.%'"
    counts = [forked.sdk.query_rows(both.format(run_id))[1] for run_id in ("base", "other")]
    assert counts[0] == counts[1] != [(0,)]
    held = forked.file("other", "data/portfolio_candidates.json")["winners"][0]["symbol"]
    told = [forked("explain", run_id, held, "--json").document for run_id in ("base", "other")]
    steps = [[step for step in t["data"]["steps"] if "selection" in step["stage"]] for t in told]
    assert steps[0] == steps[1] != []


def test_the_same_fork_attaches_and_another_one_under_its_id_is_refused(forked: Any) -> None:
    again = forked(*REGIME, "--run-id", "other", "--set", PROFILES, "--json", sets=(SPACE,))
    assert (again.exit, again.document["data"]["run_id"]) == (0, "other")
    sets = (SPACE,)
    told = forked.refuses("RUN_ID_CONFLICT", 2, *REGIME, "--run-id", "other", sets=sets)
    assert "allocation.risk_profiles" in told
    later = ("fork", "base", "--from-stage", "report.forensic", "--run-id", "other", "--set", PROFILES)
    told = forked.refuses("FORK_PARAMS_CHANGED", 2, *later, sets=sets)
    assert "quantctl fork base --from-stage allocation.optimization" in told
    forked.refuses("RUN_ID_CONFLICT", 2, *REGIME, "--run-id", "base", sets=sets)


def test_a_fork_of_a_fork_names_the_run_that_computed(forked: Any, tmp_path: Path) -> None:
    door = forked.copy(tmp_path)
    words = ("fork", "other", "--from-stage", "allocation.flattening", "--run-id", "third")
    done = door(*words, "--json", sets=(SPACE,))
    assert done.exit == 0, done.out + done.err
    origins = door.file("third", "config/resolved_manifest.json")["forked_from"]["origins"]
    assert (origins["selection.policy"], origins["allocation.optimization"]) == ("base", "other")
    assert door("audit", "atomic", "third", "--json").exit == 0
    assert door("ledger", "verify", "third", "--json").exit == 0


@pytest.mark.parametrize(
    ("key", "stage"),
    [
        ("selection.top_n=3", "selection.policy"),
        ("universe.daily_turnover_min=1e9", "selection.ingestion"),
    ],
)
def test_a_setting_that_would_change_a_kept_stage_is_refused_with_the_stage_to_fork_from(
    forked: Any, key: str, stage: str
) -> None:
    words = (*REGIME, "--run-id", "fresh", "--set", key)
    told = forked.refuses("FORK_PARAMS_CHANGED", 2, *words, sets=(SPACE,))
    assert key.split("=")[0] in told
    assert f"quantctl fork base --from-stage {stage}" in told
    assert not (forked.runs_dir / "fresh").exists()


def test_a_setting_that_a_kept_stage_is_handed_but_that_changes_nothing_is_accepted(
    forked: Any, tmp_path: Path
) -> None:
    # Selection made no atom of a trend, so that the window of their gate decides nothing.
    atoms = forked.sdk.load_artifact("base", "atoms")
    assert "trend" not in atoms["logic"].unique().to_list()
    door = forked.copy(tmp_path)
    done = door(*REGIME, "--run-id", "wider", "--set", "synthesis.trend_window=9", "--json", sets=(SPACE,))
    assert done.exit == 0, done.err


@pytest.mark.parametrize(
    ("code", "exit_code", "words"),
    [
        ("RUN_NOT_FOUND", 3, ("fork", "nobody", "--from-stage", "allocation.regime")),
        ("STAGE_UNKNOWN", 2, ("fork", "base", "--from-stage", "allocation.regimen")),
        ("RUN_ID_INVALID", 2, (*REGIME, "--run-id", "../base")),
        ("SETTING_UNKNOWN", 2, (*REGIME, "--run-id", "fresh", "--set", "allocation.kapa_max=3")),
        ("SETTING_SYNTAX", 2, (*REGIME, "--run-id", "fresh", "--set", "allocation.kappa_max")),
        ("FORK_DATAOPS", 2, ("fork", "prepare_audit_audit", "--from-stage", "data.audit")),
    ],
)
def test_a_wrong_fork_changes_nothing(forked: Any, code: str, exit_code: int, words: tuple[str, ...]) -> None:
    forked.refuses(code, exit_code, *words, sets=(SPACE,))


def test_a_run_that_waits_is_not_forked(forked: Any, tmp_path: Path) -> None:
    door = forked.copy(tmp_path)
    run = ("run", "--profile", "binance_spot_rating_all_long", "--pipeline", "selection.full")
    lock = WorkerLock(door.data / "state" / "worker.lock")
    assert door(*run, "--run-id", "waiting", "--no-wait", "--json", sets=(SPACE,)).exit == 0
    assert lock.acquire("worker-9")
    try:
        words = ("fork", "waiting", "--from-stage", "selection.policy", "--run-id", "fresh")
        door.refuses("FORK_SOURCE_LIVE", 2, *words, sets=(SPACE,))
    finally:
        lock.release()


def test_a_stage_that_its_source_has_not_finished_is_not_kept(interrupted: Any) -> None:
    told = interrupted.refuses("FORK_STAGE_MISSING", 3, *REGIME, "--run-id", "fresh", sets=(SPACE,))
    assert "fork it from selection." in told
    early = ("fork", "base", "--from-stage", "selection.inference", "--run-id", "early")
    done = interrupted(*early, "--json", sets=(SPACE,))
    assert done.exit == 0, done.err  # what an interrupted run has booked can be kept
    assert interrupted("audit", "atomic", "early", "--json").exit == 0


def test_a_changed_file_of_the_source_is_not_taken_over(damaged: Any) -> None:
    path = damaged.runs_dir / "base" / "data" / "returns_matrix.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    words = (*REGIME, "--run-id", "fresh")
    told = damaged.refuses("ARTIFACT_CORRUPT", 3, *words, sets=(SPACE,), broken="data/returns_matrix.parquet")
    assert "returns_matrix of run base" in told
    assert not (damaged.runs_dir / "fresh").exists()


def test_a_failed_fork_is_retried_from_its_own_stages_only(damaged: Any) -> None:
    words = (*REGIME, "--run-id", "tight", "--set", "allocation.min_obs=100000", "--json")
    failed = damaged(*words, sets=(SPACE,))
    assert failed.exit != 0
    assert damaged.sdk.status("tight").state == "FAILED", failed.err
    damaged.refuses("RETRY_STAGE_KEPT", 2, "retry", "tight", "--from-stage", "selection.policy")
    again = damaged("retry", "tight", "--json", sets=(SPACE,))
    assert again.exit == failed.exit
    assert damaged.sdk.status("tight").status.attempt == 2
    assert damaged("ledger", "verify", "tight", "--json").exit == 0
    reopened = [r["data"] for r in damaged.sdk.ledger("tight") if r["code"] == "REOPENED"]
    assert [data["attempt"] for data in reopened] == [2]


def test_on_another_file_system_kept_files_are_copied(damaged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    done = damaged(*REGIME, "--run-id", "far", "--json", sets=(SPACE,))
    assert done.exit == 0, done.out + done.err
    for path in kept_files(damaged, "far"):
        one, other = damaged.runs_dir / "base" / path, damaged.runs_dir / "far" / path
        assert one.read_bytes() == other.read_bytes()
        assert not os.path.samefile(one, other)


def test_the_sdk_forks_through_the_same_path(forked: Any, tmp_path: Path) -> None:
    door = forked.copy(tmp_path)
    result = door.sdk.fork(
        "base", from_stage="allocation.flattening", new_id="by_hand",
        params={"orchestration.min_free_mb": 0},
    )  # fmt: skip
    assert (result.state, result.exit_code) == ("SUCCESS", 0)
    flat = json.loads((result.run_dir / "data" / "portfolio_flattened.json").read_bytes())
    theirs = door.file("base", "data/portfolio_flattened.json")
    assert flat["profiles"] == theirs["profiles"]
    assert flat["run_id"] == "by_hand"
