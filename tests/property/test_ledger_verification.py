"""Whatever is done to a ledger, to either of its copies, is found and named; a sound one raises no alarm."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import booked
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantctl.contracts.canonical import canonical
from quantctl.contracts.ledger_chain import seal
from quantctl.verification import verify_all, verify_ledger

RUN = "retried"  # 16 records, a retry among them
TABLES = ("runs", "run_ledger", "artifact_index", "run_lives")
CHANGES = {"edited", "removed", "inserted", "reordered", "truncated", "appended"}
ANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


class Ground:
    """A retried run whose copies are put back after each trial."""

    def __init__(self, data: Path) -> None:
        book = booked.Book(data)
        book.run(RUN, retries=1)
        book.run("other")
        book.engine.dispose()
        self.places = book.places
        self.root = book.places.run_root(RUN)
        self.database = data / "state" / "quantctl.sqlite"
        self.lines = (self.root / "audit.jsonl").read_bytes().splitlines(keepends=True)
        self.head = (self.root / "audit_head.json").read_bytes()

    def file(self, lines: list[bytes]) -> dict[str, Any]:
        """The report after `audit.jsonl` was written so, its head file left alone."""
        (self.root / "audit.jsonl").write_bytes(b"".join(lines))
        try:
            return verify_ledger(self.places, RUN)
        finally:
            (self.root / "audit.jsonl").write_bytes(b"".join(self.lines))
            (self.root / "audit_head.json").write_bytes(self.head)

    def state(self, change: Callable[[sqlite3.Connection], Any]) -> dict[str, Any]:
        """The report after a change of the state database."""
        with sqlite3.connect(self.database) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kept = self.database.read_bytes()
        try:
            with sqlite3.connect(self.database) as connection:
                change(connection)
            connection.close()
            return verify_ledger(self.places, RUN)
        finally:
            for path in self.database.parent.glob("quantctl.sqlite*"):
                path.unlink()
            self.database.write_bytes(kept)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("ledger") / "data")


def told(report: dict[str, Any]) -> set[tuple[str, str | None, int | None]]:
    return {(f["code"], f["details"].get("change"), f["details"].get("line")) for f in report["findings"]}


def test_sound_ledgers_raise_no_alarm(ground: Ground) -> None:
    for report in verify_all(ground.places):
        assert (report["ok"], report["anchored"], report["findings"]) == (True, True, [])
    assert len(ground.lines) == 16


def resealed(record: dict[str, Any]) -> bytes:
    bare = {k: v for k, v in record.items() if k not in ("hash", "body_hash", "prev_hash")}
    return canonical(seal(bare, record["prev_hash"])) + b"\n"


@st.composite
def edits(draw: st.DrawFn, line: bytes) -> bytes:
    """Any other line in the place of one: a changed field, a byte, a form, a new seal."""
    record = json.loads(line)
    kind = draw(st.sampled_from(["field", "drop", "add", "byte", "form", "reseal", "torn"]))
    name = draw(st.sampled_from(sorted(record)))
    values = (
        st.none() | st.booleans() | st.integers(-3, 99) | st.text(max_size=5) | st.just({}) | st.just([1])
    )
    if kind == "field":
        record[name] = draw(values.filter(lambda value: value != record[name] or type(value) is bool))
        return canonical(record) + b"\n"
    if kind == "drop":
        del record[name]
        return canonical(record) + b"\n"
    if kind == "add":
        return canonical(record | {"note": draw(values)}) + b"\n"
    if kind == "byte":
        place = draw(st.integers(0, len(line) - 2))
        byte = draw(st.integers(32, 126).filter(lambda b: b != line[place]))
        return line[:place] + bytes([byte]) + line[place + 1 :]
    if kind == "form":
        return json.dumps(record).encode() + b"\n"
    if kind == "torn":
        return line[: draw(st.integers(1, len(line) - 1))]
    record["data"] = {"forged": draw(values)}
    return resealed(record)


@ANY
@given(st.data())
def test_any_edited_line_of_the_file_is_found_and_named(ground: Ground, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, 15))
    line = data.draw(edits(ground.lines[place]))
    changed = [*ground.lines]
    changed[place] = line
    if not line.endswith(b"\n"):
        changed = changed[: place + 1]  # a torn line is a last one
    report = ground.file(changed)
    assert not report["ok"]
    codes = {"LEDGER_PARSE", "LEDGER_SEQ", "LEDGER_LINK", "LEDGER_HASH", "LEDGER_GENESIS"}
    assert [code for code, change, at in told(report) if (change, at) == ("edited", place) and code in codes]
    assert not {change for _, change, _ in told(report)} & {"removed", "inserted", "reordered"}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("data", {"x": 1}, "LEDGER_HASH"), ("status", "failed", "LEDGER_HASH"), ("ts", "2020", "LEDGER_HASH"),
        ("hash", "0" * 64, "LEDGER_HASH"), ("body_hash", "0" * 64, "LEDGER_HASH"), ("seq", 99, "LEDGER_SEQ"),
        ("prev_hash", "0" * 64, "LEDGER_LINK"), ("type", "genesis", "LEDGER_GENESIS"),
    ],
)  # fmt: skip
def test_an_edit_has_the_code_of_what_it_broke(ground: Ground, name: str, value: Any, code: str) -> None:
    record = json.loads(ground.lines[5]) | {name: value}
    report = ground.file([*ground.lines[:5], canonical(record) + b"\n", *ground.lines[6:]])
    assert (code, "edited", 5) in told(report)


@ANY
@given(st.data())
def test_any_removal_insertion_and_swap_is_found_and_named(ground: Ground, data: st.DataObject) -> None:
    seqs = list(range(16))
    removed = sorted(data.draw(st.sets(st.integers(0, 15), max_size=3)))
    left = [seq for seq in seqs if seq not in removed]
    copies = data.draw(st.lists(st.sampled_from(left), max_size=2))
    places = [data.draw(st.integers(0, len(left))) for _ in copies]
    swap = data.draw(st.booleans())
    moved = [*left]
    if swap:
        first, second = sorted(data.draw(st.sets(st.integers(0, len(left) - 1), min_size=2, max_size=2)))
        moved[first], moved[second] = moved[second], moved[first]
    for place, copy in zip(places, copies, strict=True):
        moved.insert(place, copy)
    report = ground.file([ground.lines[seq] for seq in moved])
    if moved == seqs:
        assert report["ok"]
        return
    assert not report["ok"]
    kinds = {change for _, change, _ in told(report)} & CHANGES
    appended = moved[:16] == seqs
    tail = bool(removed) and removed == seqs[16 - len(removed) :]
    expected = {"appended"} if appended else set()
    if not appended:
        expected |= {"truncated" if tail else "removed"} if removed else set()
        expected |= {"inserted"} if copies else set()
        expected |= {"reordered"} if _disordered(moved) else set()
    assert kinds == expected
    codes = {change: code for code, change, _ in told(report)}
    for change, code in codes.items():
        if change in ("removed", "inserted", "reordered"):
            assert code in ("LEDGER_SEQ", "LEDGER_GENESIS")
        if change == "truncated":
            assert code == "LEDGER_TRUNCATED"
    firsts = [at for _, change, at in told(report) if change in CHANGES]
    bad = next((n for n, seq in enumerate(moved) if n >= 16 or seq != n), len(moved))
    assert min(at for at in firsts if at is not None) == bad


def _disordered(moved: list[int]) -> bool:
    firsts = list(dict.fromkeys(moved))
    return firsts != sorted(firsts)


@ANY
@given(st.data())
def test_whatever_is_done_to_the_rows_of_the_state_database_is_found_there(
    ground: Ground, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, 15))
    kind = data.draw(st.sampled_from(["edit", "delete", "column", "swap", "cut", "cut with its head"]))
    where = f" WHERE run_id = '{RUN}' AND seq"
    name = data.draw(
        st.sampled_from(["ts", "type", "step", "status", "code", "body_hash", "hash", "attempt"])
    )

    def change(sql: sqlite3.Connection) -> None:
        if kind == "edit":
            record = json.loads(ground.lines[place]) | {"data": {"forged": 1}}
            sql.execute(f"UPDATE run_ledger SET record = ?{where} = {place}", (canonical(record).decode(),))
        elif kind == "column":
            sql.execute(f"UPDATE run_ledger SET {name} = 77{where} = {place}")
        elif kind == "delete":
            sql.execute(f"DELETE FROM run_ledger{where} = {place}")
        elif kind == "swap":
            other = (place + 3) % 16
            sql.execute(f"UPDATE run_ledger SET seq = -1{where} = {place}")
            sql.execute(f"UPDATE run_ledger SET seq = {place}{where} = {other}")
            sql.execute(f"UPDATE run_ledger SET seq = {other}{where} = -1")
        else:
            sql.execute(f"DELETE FROM run_ledger{where} >= {max(place, 1)}")
            if kind == "cut with its head":
                head = json.loads(ground.lines[max(place, 1) - 1])
                sql.execute(
                    f"UPDATE runs SET head_seq = ?, head_hash = ? WHERE run_id = '{RUN}'",
                    (head["seq"], head["hash"]),
                )

    report = ground.state(change)
    assert not report["ok"]
    named = {
        (f["code"], f["details"].get("change")) for f in report["findings"]
        if f["details"].get("copy") == "the state database"
    }  # fmt: skip
    expected = {
        "edit": {("LEDGER_HASH", "edited")}, "column": {("LEDGER_HASH", "edited")},
        "swap": {("LEDGER_SEQ", "reordered"), ("LEDGER_GENESIS", "reordered")},
        "delete": {
            ("LEDGER_SEQ", "removed"), ("LEDGER_GENESIS", "removed"), ("LEDGER_TRUNCATED", "truncated"),
        },
        "cut": {("LEDGER_TRUNCATED", "truncated")}, "cut with its head": {("LEDGER_TRUNCATED", "truncated")},
    }[kind]  # fmt: skip
    assert named & expected
    assert not [f for f in report["findings"] if f["details"].get("copy") == "audit.jsonl"]


@pytest.mark.parametrize("row", ["state = 'SUCCESS'", "exit_code = 7", "head_seq = 3", "head_hash = 'x'"])
def test_a_run_whose_row_is_not_what_its_ledger_says_is_found(ground: Ground, row: str) -> None:
    row = row.replace("SUCCESS", "FAILED")
    report = ground.state(lambda sql: sql.execute(f"UPDATE runs SET {row} WHERE run_id = '{RUN}'"))
    assert [f["code"] for f in report["findings"]] in (["LEDGER_HASH"], ["LEDGER_TRUNCATED"])


def test_a_chain_forged_anew_is_told_by_its_other_copy(ground: Ground) -> None:
    lines, previous = [], "0" * 64
    for line in ground.lines:
        record = json.loads(line)
        bare = {k: v for k, v in record.items() if k not in ("hash", "body_hash", "prev_hash")}
        bare["data"] = bare["data"] | ({"forged": True} if record["seq"] == 4 else {})
        sealed = seal(bare, previous)
        previous = sealed["hash"]
        lines.append(canonical(sealed) + b"\n")
    report = ground.file(lines)
    assert ("LEDGER_LINK", "edited", 4) in told(report)


def test_a_file_and_a_table_that_were_both_changed_are_both_named(ground: Ground) -> None:
    (ground.root / "audit.jsonl").write_bytes(b"".join(ground.lines[:3] + ground.lines[4:]))
    try:
        report = ground.state(lambda sql: sql.execute("DELETE FROM run_ledger WHERE seq = 7"))
    finally:
        (ground.root / "audit.jsonl").write_bytes(b"".join(ground.lines))
    copies = {(f["details"].get("copy"), f["details"].get("line")) for f in report["findings"]}
    assert {("audit.jsonl", 3), ("the state database", 7)} <= copies


def test_a_state_database_that_lost_only_the_row_of_the_run_says_so(ground: Ground) -> None:
    report = ground.state(lambda sql: sql.execute("DELETE FROM runs"))
    assert not report["ok"]
    assert told(report) == {("LEDGER_TRUNCATED", "removed", None)}


def test_without_the_state_database_a_ledger_is_unanchored(ground: Ground) -> None:
    report = ground.state(lambda sql: [sql.execute(f"DELETE FROM {table}") for table in TABLES])
    assert (report["ok"], report["anchored"]) == (True, False)
    middle = json.loads(ground.lines[9])["hash"]
    assert verify_ledger(ground.places, RUN, head=middle)["ok"]
    assert not verify_ledger(ground.places, RUN, head="f" * 64)["ok"]


def test_a_head_file_that_is_cut_or_names_something_else_is_found(ground: Ground) -> None:
    path = ground.root / "audit_head.json"
    for data, code in (
        (None, "LEDGER_HEAD_MISSING"), (ground.head[:-5], "LEDGER_HEAD_MISSING"),
        (b"[]", "LEDGER_HEAD_MISSING"),
        (ground.head.replace(b'"seq":15', b'"seq":14'), "LEDGER_TRUNCATED"),
        (ground.head.replace(b'"closed":true', b'"closed":false'), "LEDGER_TRUNCATED"),
    ):  # fmt: skip
        path.unlink() if data is None else path.write_bytes(data)
        report = ground.file(ground.lines)
        assert [f["code"] for f in report["findings"]] == [code]


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("data/gates/candidates.json", "changed"), ("data/gates/candidates.json", "missing"),
        ("attempts/1/data/gates/candidates.json", "changed"),
        ("attempts/1/data/gates/candidates.json", "missing"),
    ],
)  # fmt: skip
def test_a_changed_and_a_removed_artifact_are_told_apart_also_after_a_retry(
    ground: Ground, file: str, change: str, tmp_path: Path
) -> None:
    path, kept = ground.root / file, tmp_path / "kept"
    shutil.copy(path, kept)
    path.unlink() if change == "missing" else path.write_bytes(path.read_bytes() + b" ")
    try:
        report = verify_ledger(ground.places, RUN)
    finally:
        shutil.copy(kept, path)
    assert [(f["code"], f["details"]) for f in report["findings"]] == [
        ("LEDGER_ARTIFACT", {"path": file, "change": change})
    ]


def test_a_changed_hash_in_the_artifact_index_is_found(ground: Ground) -> None:
    report = ground.state(lambda sql: sql.execute("UPDATE artifact_index SET sha256 = 'x'"))
    assert {f["code"] for f in report["findings"]} == {"LEDGER_ARTIFACT"}


def test_the_file_of_a_run_that_goes_on_may_lag_behind(tmp_path: Path) -> None:
    book = booked.Book(tmp_path / "data")
    request = book.begin("a")
    book.write_audit("a")
    book.stage(request, 0)
    report = verify_ledger(book.places, "a")
    assert report["ok"]
    assert [(f["level"], f["code"]) for f in report["findings"]] == [("WARN", "LEDGER_PROJECTION")]
    book.stage(request, 1)
    book.close(request)
    assert verify_ledger(book.places, "a")["findings"] == []
