"""`quantctl batch` through the front door: plan, refusals, children, SQL, verification, Python."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import fan_out_door as fan
import pytest

from quantctl.contracts.canonical import canonical
from quantctl.contracts.ledger_chain import line_of, seal
from quantctl.verification import verify_ledger

Door = Any  # of tiny_door.py


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    """A small lake and one batch of six children that passed."""
    found = fan.prepared(tmp_path_factory.mktemp("lake"))
    done = found(*fan.batch_words("2023-02-01", "2023-02-11", "--every", "2"))
    assert done.returncode == 0, done.stderr
    return found


def data_of(done: Any) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["data"]


def refused(done: Any, code: str, exit_code: int = 2) -> dict[str, Any]:
    error = json.loads(done.stdout)["error"]
    assert (error["code"], done.returncode) == (code, exit_code), done.stdout
    return error


def test_the_plan_lists_the_children_and_writes_nothing(door: Door) -> None:
    before = fan.children(door, "planned")
    words = ("batch", "--profile", fan.PROFILE, "--from", "2023-02-01", "--to", "2023-02-10", "--every", "3")
    plan = data_of(door(*words, "--pipeline", "tiny.full", "--run-id", "planned", "--plan", "--json"))
    assert [child["as_of"] for child in plan["children"]] == [
        "2023-02-01", "2023-02-04", "2023-02-07", "2023-02-10",
    ]  # fmt: skip
    assert plan["children"][0]["run_id"] == "planned-20230201"
    assert {child["state"] for child in plan["children"]} == {"new"}
    assert fan.children(door, "planned") == before == [] and fan.state_of(door, "planned") == "none"


def test_the_artifact_says_how_every_child_ended(door: Door) -> None:
    body = fan.artifact(door)
    assert (body["succeeded"], len(body["children"])) == (6, 6)
    assert [child["run_id"] for child in body["children"]] == fan.children(door)
    assert "Verdict: **PASS** (6 of 6 children succeeded)" in (door.root("b1") / "INDEX.md").read_text()


def test_a_child_is_the_run_that_the_command_of_its_manifest_makes(door: Door, tmp_path: Path) -> None:
    manifest = json.loads((door.root("b1-20230203") / "config" / "resolved_manifest.json").read_bytes())
    words = manifest["replay"][1:]
    alone = door.copy(tmp_path)
    done = alone(*words)
    assert done.returncode == 0, done.stderr
    assert alone.result("b1-20230203") == door.result("b1-20230203")


def test_status_and_list_show_parent_and_children(door: Door) -> None:
    found = data_of(door("status", "b1", "--json"))
    assert (found["state"], found["children"]["total"], found["children"]["succeeded"]) == ("SUCCESS", 6, 6)
    listed = {run["run_id"]: run["pipeline"] for run in data_of(door("list", "--limit", "50", "--json"))}
    assert listed["b1"] == "batch.full" and listed["b1-20230201"] == "tiny.full"
    shown = door("show", "b1")
    assert "6 of 6: 6 succeeded" in shown.stdout and "data/batch.json" in shown.stdout


def test_list_shows_the_children_of_one_batch_in_their_order(door: Door) -> None:
    words = ("list", "--parent", "b1")
    listed = data_of(door(*words, "--json"))
    assert [run["run_id"] for run in listed] == fan.children(door)
    assert {run["parent"] for run in listed} == {"b1"}
    assert door("status", "b1", "--json").stdout.count('"parent": null') == 1
    first = data_of(door(*words, "--limit", "2", "--state", "success", "--json"))
    assert [run["run_id"] for run in first] == fan.children(door)[:2]
    assert data_of(door(*words, "--state", "failed", "--json")) == []
    assert data_of(door("list", "--parent", "b1-20230201", "--json")) == []  # it is no batch
    table = door(*words).stdout.splitlines()
    assert len(table) == 2 + 6 and table[2].startswith("b1-20230201 ")
    refused(door("list", "--parent", "b9", "--json"), "RUN_NOT_FOUND", 3)
    refused(door("list", "--parent", "../b1", "--json"), "RUN_ID_INVALID")


def test_sql_anchors_the_head_of_every_child(door: Door) -> None:
    query = (
        "SELECT c.child, c.suffix, c.state FROM children c JOIN runs r ON r.run_id = c.child"
        " AND r.head_hash = c.head_hash AND r.head_seq = c.head_seq WHERE c.parent = 'b1' ORDER BY 1"
    )
    rows = data_of(door("sql", query, "--format", "json", "--json"))
    text = json.dumps(rows)
    assert all(child in text for child in fan.children(door)) and text.count("SUCCESS") == 6


def test_the_trace_of_a_batch_holds_the_spans_of_its_children_below_its_stage(door: Door) -> None:
    fan.assert_whole_trace(door)
    spans = door.trace("b1")["spans"]
    stage = next(span for span in spans if span["name"] == "batch.children")
    children = [span for span in spans if span["name"] == "run tiny.full"]
    assert {span["parent_span_id"] for span in children} == {stage["span_id"]} and len(children) == 6
    for child in children:  # the stage lasts from its first child to its last
        assert (
            int(stage["start_ns"]) <= int(child["start_ns"]) <= int(child["end_ns"]) <= int(stage["end_ns"])
        )
        own = door.trace(child["attributes"]["quant.run_id"])
        assert own["trace_id"] == child["attributes"]["quant.trace_id"] != child["trace_id"]
    ledger = [record["span_id"] for record in door.records("b1") if record["status"] == "success"]
    assert ledger == [stage["span_id"]]


def test_the_same_command_attaches_and_other_dates_conflict(door: Door) -> None:
    before = fan.lives(door)
    assert door(*fan.batch_words("2023-02-01", "2023-02-11", "--every", "2")).returncode == 0
    assert fan.lives(door) == before
    error = refused(door(*fan.batch_words("2023-02-01", "2023-02-05"), "--json"), "RUN_ID_CONFLICT")
    assert "children" in error["message"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--as-of", "2023-02-01", "--from", "2023-02-01"), "BATCH_EMPTY"),
        (("--as-of", "2023-02-30"), "AS_OF_INVALID"),
        (("--as-of", "2031-02-01"), "AS_OF_INVALID"),
        (("--from", "2023-02-05", "--to", "2023-02-01"), "BATCH_EMPTY"),
        (("--as-of", "2023-02-01", "--run-id", "x" * 90), "RUN_ID_INVALID"),
        (("--as-of", "2023-02-01", "--pipeline", "data.full"), "PIPELINE_UNKNOWN"),
    ],
)
def test_what_cannot_be_a_batch_is_refused_before_it_begins(
    words: tuple[str, ...], code: str, door: Door
) -> None:
    base = (
        "batch",
        "--profile",
        fan.PROFILE,
        *(() if "--pipeline" in words else ("--pipeline", "tiny.full")),
    )
    before = sorted(fan.lives(door))
    refused(door(*base, *words, "--json"), code)
    assert sorted(fan.lives(door)) == before


def test_missing_candidates_name_the_command_of_every_date(door: Door) -> None:
    words = ("batch", "--profile", fan.PROFILE, "--as-of", "2023-02-01", "--as-of", "2023-02-03", "--json")
    error = refused(door(*words), "CANDIDATES_EMPTY", 3)
    for day in ("2023-02-01", "2023-02-03"):
        assert f"quantctl data candidates --profile {fan.PROFILE} --as-of {day}" in error["remedy"]


def test_a_child_that_is_another_run_is_a_conflict(door: Door) -> None:
    words = ("run", "--profile", fan.PROFILE, "--pipeline", "tiny.full", "--as-of", "2023-02-02")
    assert door(*words, "--run-id", "c1-20230201").returncode == 0
    taken = ("batch", "--profile", fan.PROFILE, "--as-of", "2023-02-01", "--pipeline", "tiny.full")
    error = refused(door(*taken, "--run-id", "c1", "--json"), "RUN_ID_CONFLICT")
    assert "c1-20230201" in error["message"] and fan.state_of(door, "c1") == "none"


def test_runs_that_were_there_before_are_children_like_the_others(door: Door) -> None:
    """A batch counts, retries and verifies them, though it did not begin them."""
    alone = ("run", "--profile", fan.PROFILE, "--pipeline", "tiny.full", "--as-of")
    assert door(*alone, "2023-02-01", "--run-id", "d1-20230201").returncode == 0
    assert door(*alone, "2023-02-02", "--run-id", "d1-20230202", TINY_FAILS="1").returncode == 3
    words = ("batch", "--profile", fan.PROFILE, "--pipeline", "tiny.full", "--run-id", "d1")
    dates = ("--from", "2023-02-01", "--to", "2023-02-03")
    plan = data_of(door(*words, *dates, "--plan", "--json"))
    assert [child["state"] for child in plan["children"]] == ["SUCCESS", "FAILED", "new"]
    assert door(*words, *dates).returncode == 3
    found = data_of(door("status", "d1", "--json"))["children"]
    assert (found["succeeded"], found["failed"], found["waiting"]) == (2, 1, 0)
    assert door("retry", "d1").returncode == 0
    assert fan.artifact(door, "d1")["succeeded"] == 3
    verified = data_of(door("ledger", "verify", "d1", "--recursive", "--json"))
    assert [report["run_id"] for report in verified] == ["d1", *fan.children(door, "d1")]


def test_a_batch_is_no_pipeline_of_run(door: Door) -> None:
    refused(door("run", "--profile", fan.PROFILE, "--pipeline", "batch.full", "--json"), "PIPELINE_UNKNOWN")


def test_verify_tells_apart_what_happened_to_a_child(door: Door, tmp_path: Path) -> None:
    copy = whole_copy(door, tmp_path)
    edited, cut, replaced, gone = (copy.root(run) for run in fan.children(copy)[:4])
    lines = (edited / "audit.jsonl").read_text().splitlines(keepends=True)
    (edited / "audit.jsonl").write_text(
        "".join([*lines[:3], lines[3].replace('"attempt":1', '"attempt":2'), *lines[4:]])
    )
    lines = (cut / "audit.jsonl").read_text().splitlines(keepends=True)
    (cut / "audit.jsonl").write_text("".join(lines[:-1]))
    shutil.copy(door.root("b1-20230211") / "audit.jsonl", replaced / "audit.jsonl")
    (gone / "audit.jsonl").unlink()
    done = copy("ledger", "verify", "b1", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["error"]["code"] == "LEDGER_CHILD"
    told = {f["details"]["child"]: f["details"]["change"] for f in report["data"][0]["findings"]}
    assert list(told.values()) == ["edited", "truncated", "replaced", "missing"]
    assert json.loads(door("ledger", "verify", "b1", "--recursive", "--json").stdout)["ok"]


def test_a_child_made_again_is_told_from_the_one_that_was_booked(door: Door, tmp_path: Path) -> None:
    """The same decisions at another time: every record holds by itself, and is not the one booked."""
    copy = whole_copy(door, tmp_path / "a")
    alone = door.copy(tmp_path / "b")
    manifest = json.loads((door.root("b1-20230203") / "config" / "resolved_manifest.json").read_bytes())
    assert alone(*manifest["replay"][1:]).returncode == 0
    for name in ("audit.jsonl", "audit_head.json"):
        shutil.copy(alone.root("b1-20230203") / name, copy.root("b1-20230203") / name)
    findings = json.loads(copy("ledger", "verify", "b1", "--json").stdout)["data"][0]["findings"]
    assert [f["details"]["change"] for f in findings] == ["replaced"]


def with_other_head(records: list[dict[str, Any]], *, sealed: bool) -> list[dict[str, Any]]:
    """The records of a parent with another head of its first child; sealed anew from there on, or not."""
    changed = [dict(record, data=dict(record["data"])) for record in records]
    first = next(seq for seq, record in enumerate(changed) if record["code"] == "CHILD_CLOSED")
    changed[first]["data"]["head_hash"] = "f" * 64
    if sealed:
        for seq in range(first, len(changed)):
            changed[seq] = seal(changed[seq], changed[seq - 1]["hash"])
    assert [record["body_hash"] for record in changed] == [record["body_hash"] for record in records]
    return changed


def put(door: Door, records: list[dict[str, Any]], *, file: bool, state: bool) -> None:
    """Replace copies of the ledger of b1, with every head that stands beside them."""
    head = records[-1]["hash"]
    if file:
        data = b"".join(line_of(record) for record in records)
        (door.root("b1") / "audit.jsonl").write_bytes(data)
        told = json.loads((door.root("b1") / "audit_head.json").read_bytes()) | {"hash": head}
        (door.root("b1") / "audit_head.json").write_bytes(canonical(told))
    if state:
        with contextlib.closing(sqlite3.connect(door.data / "state" / "quantctl.sqlite")) as sql, sql:
            for record in records:
                row = (canonical(record).decode(), record["hash"], record["seq"])
                sql.execute("UPDATE run_ledger SET record = ?, hash = ? WHERE run_id = 'b1' AND seq = ?", row)
            sql.execute("UPDATE runs SET head_hash = ? WHERE run_id = 'b1'", (head,))


@pytest.mark.parametrize(
    ("file", "state", "sealed", "codes"),
    [
        (True, False, False, {"LEDGER_HASH"}),
        (False, True, False, {"LEDGER_HASH"}),
        (True, True, False, {"LEDGER_HASH", "LEDGER_CHILD"}),
        (True, False, True, {"LEDGER_LINK"}),  # told by the other copy
        (False, True, True, {"LEDGER_LINK", "LEDGER_CHILD"}),
        (True, True, True, {"LEDGER_CHILD"}),  # every copy and head forged alike: the child itself tells
    ],
)
def test_a_head_that_no_body_hash_covers_cannot_be_changed_unseen(
    file: bool, state: bool, sealed: bool, codes: set[str], door: Door, tmp_path: Path
) -> None:
    copy = whole_copy(door, tmp_path)
    put(copy, with_other_head(copy.records("b1"), sealed=sealed), file=file, state=state)
    report = verify_ledger(fan.places_of(copy), "b1")
    assert not report["ok"]
    found = {finding["code"] for finding in report["findings"]}
    assert found == codes


def test_the_sdk_runs_a_batch_and_loads_its_record(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    fan.tiny_door.load_tiny()
    from quantctl import QuantSDK

    monkeypatch.chdir(door.data.parent)
    overrides = {"paths.data_dir": str(door.data), "orchestration.min_free_mb": 0}
    sdk = QuantSDK(overrides=overrides)
    found = sdk.batch([fan.PROFILE], as_of=("2023-03-01", "2023-03-02"), pipeline="tiny.full", run_id="s1")
    assert (found.state, found.children.succeeded) == ("SUCCESS", 2)
    assert [child.suffix for child in sdk.load_artifact("s1", "batch").children] == ["20230301", "20230302"]
    assert [(run.run_id, run.as_of) for run in sdk.runs(parent="s1")] == [
        ("s1-20230301", "2023-03-01"), ("s1-20230302", "2023-03-02"),
    ]  # fmt: skip


def whole_copy(door: Door, root: Path) -> Door:
    """A whole copy of a door's data, runs included; the paths in its state are its own."""
    shutil.copytree(door.data, root / "data")
    return fan.Door(root / "data")
