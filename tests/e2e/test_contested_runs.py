"""Runs under dispute: two commands at once, ids that ended, evidence that was changed, a broken database."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quantctl.contracts.errors import ContractError
from quantctl.contracts.records.run import PROTOCOL
from quantctl.lake import lock as locks
from quantctl.lake.lock import WorkerLock
from quantctl.workflows import asking, versions

LONG = "binance_spot_rating_all_long"
SPACE = "orchestration.min_free_mb=0"
RUN = ("run", "--profile", LONG, "--pipeline", "selection.full", "--run-id")
NOTHING = "universe.daily_turnover_min=1e15"


def test_an_interrupted_run_is_resumed_to_the_bytes_of_an_undisturbed_one(
    market: Any, interrupted: Any
) -> None:
    assert interrupted.sdk.status("base").state == "INTERRUPTED"
    assert interrupted("status", "base", "--exit-code").exit == 5
    done = interrupted("resume", "base", "--json", sets=(SPACE,))
    assert done.exit == 0, done.err
    assert interrupted.result("base") == market.result("base")


def test_an_artifact_whose_bytes_changed_before_the_resume_stops_it(interrupted: Any) -> None:
    path = interrupted.runs_dir / "base" / "data" / "selection_scores.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    name = "data/selection_scores.parquet"
    artifacts = {
        n: sha for n, sha in interrupted.possessions().items() if "/audit" not in n and "/logs/" not in n
    }
    told = interrupted("resume", "base", "--json", sets=(SPACE,)).is_refusal("ARTIFACT_CORRUPT", 3)
    assert "selection_scores" in told
    interrupted.kept(
        {n: sha for n, sha in artifacts.items() if "/base/" not in n or "/base/data/" in n}, broken=name
    )
    assert path.read_bytes() == data  # evidence is not repaired in silence
    with pytest.raises(ContractError, match="is not what its run recorded") as caught:
        interrupted.sdk.load_artifact("base", "selection_scores")
    assert caught.value.code == "ARTIFACT_CORRUPT"


def test_a_cancelled_run_stays_as_it_was_and_is_never_continued(interrupted: Any) -> None:
    before = interrupted.possessions()
    spans = interrupted.runs_dir / "base" / "logs" / "spans.jsonl"
    begun = spans.read_bytes()
    done = interrupted("cancel", "base", "--reason", "not wanted", "--json")
    assert (done.exit, done.document["data"]["state"]) == (0, "CANCELLED")
    grown = ("base/audit", "base/logs/spans.jsonl")  # the ledger's close, and that of the trace
    interrupted.kept({k: sha for k, sha in before.items() if not any(name in k for name in grown)})
    assert spans.read_bytes().startswith(begun)
    assert interrupted.file("base", "forensic_trace.json")["complete"]
    for words in (("resume", "base"), ("run", "--profile", LONG, "--run-id", "base")):
        sets = (SPACE, 'allocation.risk_profiles=["hrp","equal_weight"]')
        interrupted.refuses("RUN_CANCELLED", 2, *words, sets=sets)
    interrupted.refuses("RUN_FINISHED", 2, "cancel", "base")
    interrupted.refuses("RUN_NOT_FAILED", 2, "retry", "base")
    assert interrupted("ledger", "verify", "base", "--json").exit == 0


def test_a_holder_of_the_lock_that_takes_no_wishes_is_named(
    interrupted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.5)
    lock = WorkerLock(interrupted.data / "state" / "worker.lock")
    assert lock.acquire("worker-9")
    try:
        told = interrupted.refuses("WORKER_BUSY", 2, "cancel", "base")
    finally:
        lock.release()
    assert "worker-9" in told
    assert interrupted("cancel", "base", "--json").exit == 0  # the wish was taken back with the refusal


def test_a_command_that_only_follows_a_run_leaves_it_to_its_worker_at_ctrl_c(
    interrupted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = WorkerLock(interrupted.data / "state" / "worker.lock")
    look = locks.holder

    def at_ctrl_c(path: Path) -> str | None:
        monkeypatch.setattr(locks, "holder", look)  # a second Ctrl-C would end the process at once
        signal.raise_signal(signal.SIGINT)
        return look(path)

    assert lock.acquire("worker-9")
    try:
        monkeypatch.setattr(locks, "holder", at_ctrl_c)
        told = interrupted.refuses("DETACHED", 5, "resume", "base", sets=(SPACE,))
        assert "quantctl status base --follow" in told
        assert look(interrupted.data / "state" / "worker.lock") == "worker-9"
    finally:
        lock.release()


def test_a_run_of_another_protocol_is_left_to_its_own_version(
    interrupted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "PROTOCOL", "stages-next")
    told = interrupted.refuses("RUN_VERSION_MISMATCH", 2, "resume", "base", sets=(SPACE,))
    assert f"run base follows protocol {PROTOCOL}, this is stages-next" in told
    assert "the version that started it" in told
    assert "quantctl resume base --adopt-version" in told
    assert interrupted.sdk.status("base").state == "INTERRUPTED"


def test_a_queued_run_is_cancelled_before_it_begins(damaged: Any) -> None:
    queued = damaged(*RUN, "waiting", "--no-wait", "--json", sets=(SPACE,))
    assert (queued.exit, queued.document["data"]["state"]) == (0, "QUEUED")
    done = damaged("cancel", "waiting", "--reason", "too late", "--json")
    assert (done.exit, done.document["data"]["state"]) == (0, "CANCELLED")
    assert [record["type"] for record in damaged.sdk.ledger("waiting")][:2] == ["genesis", "stage"]
    assert {record["status"] for record in damaged.sdk.ledger("waiting")} == {"info", "skipped"}
    assert not (damaged.runs_dir / "waiting" / "data").exists()
    assert damaged("ledger", "verify", "waiting", "--json").exit == 0
    query = "SELECT state, code, message FROM runs WHERE run_id = 'waiting'"
    assert damaged.sdk.query_rows(query)[1] == [("CANCELLED", "CANCELLED", "too late")]
    assert damaged.sdk.status("waiting").status.message == "too late"
    damaged.refuses("RUN_CANCELLED", 2, "resume", "waiting")


def test_a_failed_run_is_retried_not_resumed(damaged: Any) -> None:
    damaged.refuses("CANDIDATES_EMPTY", 3, *RUN, "failed", sets=(SPACE, NOTHING))
    told = damaged.refuses("RUN_FAILED", 2, "resume", "failed")
    assert "quantctl retry failed" in told
    damaged.refuses("RUN_FINISHED", 2, "cancel", "failed")
    later = ("retry", "failed", "--from-stage", "selection.policy")
    damaged.refuses("RETRY_STAGE_LATER", 2, *later)
    damaged.refuses("STAGE_UNKNOWN", 2, "retry", "failed", "--from-stage", "selection.polcy")
    again = damaged("retry", "failed", "--json", sets=(SPACE,))
    assert again.is_refusal("CANDIDATES_EMPTY", 3)
    assert damaged.sdk.status("failed").status.attempt == 2


@pytest.mark.slow
def test_commands_at_once_on_one_id_and_on_another_run_each_id_once(damaged: Any) -> None:
    ids = ("same", "same", "other")
    processes = [damaged.process(*RUN, run_id, "--json", sets=(SPACE,)) for run_id in ids]
    said = [process.communicate(timeout=180) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    documents = [json.loads(out) for out, _ in said]
    assert [d["data"]["run_id"] for d in documents] == list(ids)
    assert documents[0]["data"]["artifacts"] == documents[1]["data"]["artifacts"]
    for run_id in ("same", "other"):
        types = [record["type"] for record in damaged.sdk.ledger(run_id)]
        assert (types.count("genesis"), types.count("closed")) == (1, 1)
        assert damaged.sdk.verify_ledger(run_id)["ok"]


def _edited(lines: list[str]) -> list[str]:
    record = json.loads(lines[4])
    record["data"]["note"] = "all is well"
    return [*lines[:4], json.dumps(record, sort_keys=True, separators=(",", ":")), *lines[5:]]


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("LEDGER_TRUNCATED", lambda lines: lines[:-1]),
        ("LEDGER_SEQ", lambda lines: [*lines[:5], *lines[6:]]),
        ("LEDGER_HASH", _edited),
        ("LEDGER_PARSE", lambda lines: [*lines[:5], lines[5][:40], *lines[6:]]),
    ],
)
def test_a_ledger_file_that_was_cut_or_edited_is_named(
    damaged: Any, code: str, change: Callable[[list[str]], list[str]]
) -> None:
    path = damaged.runs_dir / "base" / "audit.jsonl"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    damaged.refuses(code, 1, "ledger", "verify", "base")
    told = damaged("audit", "atomic", "base", "--json")
    assert told.exit == 1
    assert told.document["error"]["code"] in told.err


def test_a_changed_artifact_of_a_finished_run_is_found_by_its_ledger(damaged: Any) -> None:
    path = damaged.runs_dir / "base" / "data" / "portfolio_flattened.json"
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.2", 1))
    damaged.refuses("LEDGER_ARTIFACT", 1, "ledger", "verify", "base")


@pytest.mark.parametrize("how", ["garbage", "directory", "middle"])
def test_a_damaged_state_database_stops_every_command_with_its_name(damaged: Any, how: str) -> None:
    for path in damaged.state.parent.glob("quantctl.sqlite-*"):
        path.unlink()
    data = damaged.state.read_bytes()
    damaged.state.unlink()
    if how == "directory":
        damaged.state.mkdir()
    else:
        head = b"" if how == "garbage" else data[:100]
        damaged.state.write_bytes(head + b"\xa5" * (len(data) - len(head)))
    for words in (("list",), ("status", "base"), ("resume", "base"), (*RUN, "next"), ("sql", "FROM runs")):
        told = damaged(*words, "--json", sets=(SPACE,)).is_refusal("STATE_UNREACHABLE", 5)
        assert "quantctl.sqlite" in told
    assert not (damaged.runs_dir / "next").exists()


def test_the_sdk_raises_what_the_command_line_prints(market: Any) -> None:
    from quantctl.contracts.errors import ConfigError, QuantError

    with pytest.raises(ConfigError) as unknown:
        market.sdk.run_stage("selection.polcy", run_id="base")
    assert (unknown.value.code, unknown.value.exit_code) == ("STAGE_UNKNOWN", 2)
    with pytest.raises(QuantError) as absent:
        market.sdk.status("nobody")
    assert (absent.value.code, absent.value.exit_code) == ("RUN_NOT_FOUND", 3)
    with pytest.raises(ConfigError) as wrong:
        market.sdk.load_artifact("base", "regim")
    assert (wrong.value.code, "regime" in wrong.value.message) == ("ARTIFACT_UNKNOWN", True)


def test_a_temporary_of_a_killed_write_is_no_artifact_and_gc_removes_it(damaged: Any) -> None:
    stray: Path = damaged.runs_dir / "base" / "data" / ".tmp-regime.json-1-1-1"
    stray.write_bytes(b'{"half":')
    assert damaged("ledger", "verify", "base", "--json").exit == 0
    assert damaged("gc", "--older-than", "0", "--json").exit == 0
    assert not stray.exists()
    assert damaged.sdk.verify_ledger("base")["ok"]
