"""A reviewer's view of a finished run: defects are told apart, SQL is current, projections rebuild."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from tiny_runs import drive

from quantctl.cli import main
from quantctl.lake.state import default_url
from quantctl.sdk import QuantSDK

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    assert drive(root, "run", "ok").returncode == 0
    assert drive(root, "run", "bad", "SHORT").returncode == 3
    assert drive(root, "retry", "bad").returncode == 3
    return root


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    root = tmp_path / "copy"
    shutil.copytree(finished, root)
    return root


def sdk(root: Path) -> QuantSDK:
    return QuantSDK(env={"TV_DATA_DIR": str(root), "TV_STATE_URL": default_url(root)})


def run_dir(root: Path, run_id: str) -> Path:
    return root / "artifacts" / "summaries" / "runs" / run_id


def test_a_sound_run_verifies_also_after_a_retry(finished: Path) -> None:
    for run_id in ("ok", "bad"):
        report = sdk(finished).verify_ledger(run_id)
        assert (report["ok"], report["anchored"], report["findings"]) == (True, True, [])


def _edit(lines: list[str]) -> list[str]:
    record = json.loads(lines[2])
    record["data"]["message"] = "nothing to see"
    return [*lines[:2], json.dumps(record, separators=(",", ":"), sort_keys=True), *lines[3:]]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_edit, "LEDGER_HASH"),
        (lambda lines: [*lines[:3], *lines[4:]], "LEDGER_SEQ"),
        (lambda lines: lines[:-1], "LEDGER_TRUNCATED"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "LEDGER_SEQ"),
        (lambda lines: [*lines[:2], "not json", *lines[3:]], "LEDGER_PARSE"),
    ],
)
def test_a_changed_ledger_file_is_found(
    copy: Path, change: Callable[[list[str]], list[str]], code: str
) -> None:
    path = run_dir(copy, "ok") / "audit.jsonl"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    report = sdk(copy).verify_ledger("ok")
    assert not report["ok"]
    assert code in [finding["code"] for finding in report["findings"]]


@pytest.mark.parametrize("head", [None, b"{", b"[]", b'{"seq":NaN}'], ids=["absent", "cut", "list", "NaN"])
def test_a_ledger_without_a_head_is_not_taken_for_whole(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], head: bytes | None
) -> None:
    path = run_dir(copy, "ok") / "audit_head.json"
    path.unlink() if head is None else path.write_bytes(head)
    report = sdk(copy).verify_ledger("ok")
    found = [(f["level"], f["code"], f["message"]) for f in report["findings"]]
    assert [(level, code) for level, code, _ in found] == [("ERROR", "LEDGER_HEAD_MISSING")]
    assert found[0][2].startswith("audit_head.json is ")
    assert not report["ok"]
    monkeypatch.setenv("TV_DATA_DIR", str(copy))
    monkeypatch.setenv("TV_STATE_URL", default_url(copy))
    assert main(["ledger", "verify", "ok", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "LEDGER_HEAD_MISSING"


@pytest.mark.parametrize("line", ["{}", '{"type":"stage"}', '{"outputs":3,"type":"stage"}'])
def test_a_record_without_its_fields_is_found_and_stops_nothing(copy: Path, line: str) -> None:
    path = run_dir(copy, "ok") / "audit.jsonl"
    path.write_text(path.read_text() + line + "\n")
    report = sdk(copy).verify_ledger("ok")
    assert {"LEDGER_PARSE", "LEDGER_TRUNCATED"} <= {finding["code"] for finding in report["findings"]}


def test_a_changed_artifact_is_told_apart_from_a_changed_ledger(copy: Path) -> None:
    (run_dir(copy, "ok") / "data" / "tiny_total.json").write_text('{"sum":91}')
    report = sdk(copy).verify_ledger("ok")
    assert [f["code"] for f in report["findings"]] == ["LEDGER_ARTIFACT"]
    assert report["findings"][0]["details"]["path"] == "data/tiny_total.json"


def test_a_head_known_from_elsewhere_anchors_the_chain(finished: Path) -> None:
    head = sdk(finished).verify_ledger("ok")["head"]
    assert sdk(finished).verify_ledger("ok", head=head)["ok"]
    assert not sdk(finished).verify_ledger("ok", head="0" * 64)["ok"]


def test_sql_answers_from_the_state_database_and_from_the_catalogue_alike(finished: Path) -> None:
    query = "SELECT run_id, type, count(*) AS n FROM ledger GROUP BY ALL ORDER BY ALL"
    _, live = sdk(finished).query_rows(query)
    with duckdb.connect(str(finished / "catalog.duckdb"), read_only=True) as stock:
        assert stock.execute(query).fetchall() == live
    assert ("bad", "closed", 2) in live


def test_the_projection_rebuilds_to_the_same_rows(copy: Path) -> None:
    query = "SELECT * FROM stages ORDER BY ALL"
    before = sdk(copy).query_rows(query)
    shutil.rmtree(copy / "ledger")
    (copy / "catalog.duckdb").unlink()
    assert sdk(copy).rebuild_catalog() == 2
    assert sdk(copy).query_rows(query) == before


def test_the_forensic_trace_holds_one_trace_whose_parents_exist(finished: Path) -> None:
    trace = json.loads((run_dir(finished, "bad") / "forensic_trace.json").read_text())
    ids = {span["span_id"] for span in trace["spans"]}
    assert {span["trace_id"] for span in trace["spans"]} == {trace["trace_id"]}
    assert all(span["parent_span_id"] in ids | {None} for span in trace["spans"])
    assert len(trace["lives"]) == 2
    assert [s["status"] for s in trace["spans"] if s["name"] == "tiny.total"] == ["ERROR", "ERROR"]


def test_an_artifact_with_changed_bytes_is_not_loaded(copy: Path) -> None:
    from quantctl.contracts.errors import ContractError

    path = run_dir(copy, "ok") / "data" / "tiny_total.json"
    path.write_text('{"sum":91}')
    report = sdk(copy).verify_ledger("ok")
    assert not report["ok"]
    with pytest.raises(ContractError, match="is not what its run recorded"):
        _load(copy, "ok", "tiny_total")


def _load(root: Path, run_id: str, name: str):
    from quantctl.contracts.artifacts import ARTIFACTS, Row

    ARTIFACTS.setdefault(name, Row("data/tiny_total.json", "json"))
    try:
        return sdk(root).load_artifact(run_id, name)
    finally:
        del ARTIFACTS[name]
