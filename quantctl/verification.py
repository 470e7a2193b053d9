"""`ledger verify`: a run's ledger held against itself, its other copy, its heads and its files.

Two copies exist: the table of the state database, which is the truth, and `audit.jsonl`. Both are verified.
Where one holds by its own hashes, what was done to the other is named by comparing line by line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from quantctl.child_heads import check_children
from quantctl.contracts.canonical import parse_strict
from quantctl.contracts.errors import QuantError
from quantctl.contracts.ledger_chain import GENESIS_HASH, problem, verify_chain
from quantctl.contracts.ledger_changes import Change, changes, in_form, record_of
from quantctl.contracts.stage import Finding
from quantctl.file_versions import check_files
from quantctl.lake import ledger_copies, state
from quantctl.lake.rundir import require_run
from quantctl.lake.state import Reader
from quantctl.run_rows import STATE, check_index, check_manifest, check_rows, check_without_row
from quantctl.workflows import unrecorded
from quantctl.workflows.runtime import Places

LOOKS = 3  # at a run that goes on meanwhile
FILE = "audit.jsonl"


class Copy(NamedTuple):
    """One copy of a ledger, parsed as far as it can be, and what its own chain says of it."""

    name: str
    lines: list[bytes]
    records: list[Mapping[str, Any]]
    findings: list[Finding]


def verify_ledger(places: Places, run_id: str, *, head: str | None = None) -> dict[str, Any]:
    """Verify one run: `{run_id, ok, anchored, records, head, findings[{level, code, message, details}]}`.

    head : hash of a record as known from elsewhere

    details : `copy` (which one is meant), `line` (the first bad one, from 0), `change` (edited, removed,
    inserted, reordered, truncated, appended) and `lines` (how many), or `path` of a file. A chain that only
    its own head file vouches for is not `anchored`. Raises `RUN_NOT_FOUND` (exit 3).
    """
    root = require_run(places.artifacts_dir, run_id)
    for _ in range(LOOKS):
        with state.reader(places.state_url) as connection:
            report, over = _look(connection, root, run_id, head)
        if report["ok"] or over:
            break  # else it may have gone on between two looks at it
    return report


def verify_all(places: Places) -> Iterator[dict[str, Any]]:
    """Verify every run, oldest first, then those that only a directory tells of; one report at a time."""
    with state.reader(places.state_url) as connection:
        known = dict.fromkeys(ledger_copies.run_ids(connection) + unrecorded.directories(places))
        for run_id in known:
            root = places.run_root(run_id)
            report = _look(connection, root, run_id, None)[0]
            yield report if report["ok"] or not root.is_dir() else verify_ledger(places, run_id)


def _look(
    connection: Reader | None, root: Path, run_id: str, head: str | None
) -> tuple[dict[str, Any], bool]:
    """The report of a run as it stands now, and whether the run is over."""
    lines, kept = ledger_copies.file_lines(root), ledger_copies.kept(connection, run_id)
    truth = _own(STATE, kept.lines) if kept is not None else None
    if truth is not None and truth.lines == lines and not truth.findings:
        file = truth._replace(name=FILE)  # what holds need not be computed twice
    else:
        file = _own(FILE, lines)
    over = kept is None or kept.over
    findings = list(file.findings) if truth is None else _compared(file, truth, over=over)
    if kept is not None and truth is not None:
        findings += check_rows(kept, truth.records, sound=not truth.findings)
    else:
        findings += check_without_row(connection, run_id)
    findings += _head_file(root, file) + _given(head, file, truth)
    if truth is None or truth.findings:
        truth = file
    findings += check_files(connection, root, truth.records)
    findings += check_children(connection, root.parent, truth.records)
    if not truth.findings and truth.records:
        findings += check_manifest(root, truth.records)
        findings += check_index(connection, root, run_id, truth.records) if kept and over else []
    return {
        "run_id": run_id,
        "ok": not any(finding.level == "ERROR" for finding in findings),
        "anchored": kept is not None or head is not None,
        "records": len(file.lines),
        "head": file.records[-1].get("hash") if file.records else None,
        "findings": [finding.model_dump() for finding in findings],
    }, over


def _own(name: str, lines: list[bytes] | None) -> Copy:
    """A copy judged by itself. Its chain is read up to the first line that is no record."""
    if lines is None:
        return Copy(name, [], [], [_error("LEDGER_PARSE", f"{name} is missing", copy=name)])
    records: list[Mapping[str, Any]] = []
    for place, line in enumerate(lines):
        record = record_of(line)
        if record is None:
            message = f"line {place} of {name} is no record"
            return Copy(name, lines, records, [_error("LEDGER_PARSE", message, copy=name, line=place)])
        records.append(record)
    found = [_within(finding, name) for finding in verify_chain(records)]
    if not found:
        pairs = enumerate(zip(lines, records, strict=True))
        odd = [place for place, (line, record) in pairs if not in_form(line, record)]
        message = f"record {odd[0] if odd else 0} of {name} is not in its canonical form"
        found = [_error("LEDGER_PARSE", message, copy=name, line=odd[0])] if odd else []
    return Copy(name, lines, records, found)


def _within(finding: Finding, name: str) -> Finding:
    return finding.model_copy(update={
        "message": f"{finding.message} ({name})", "details": {"copy": name} | finding.details,
    })  # fmt: skip


def _compared(file: Copy, state: Copy, *, over: bool) -> list[Finding]:
    """What is wrong with either copy, told by the other one where that holds."""
    if not state.findings:
        if file.lines == state.lines:
            return []
        return _told(file, state, over=over)
    if not file.findings:
        return _told(state, file, over=over)
    return file.findings + state.findings


def _told(copy: Copy, other: Copy, *, over: bool) -> list[Finding]:
    """What was done to a copy, one finding for each kind of change."""
    found = changes(copy.lines, other.lines)
    if not copy.lines:
        return copy.findings or [_error("LEDGER_TRUNCATED", f"{copy.name} has no record", copy=copy.name)]
    if copy.name == FILE and not over and [change.kind for change in found] == ["truncated"]:
        message = (
            f"{FILE} ends {found[0].lines} records before the ledger; the next life of the run adds them"
        )
        return [
            Finding(level="WARN", code="LEDGER_PROJECTION", message=message, details=_details(copy, found[0]))
        ]
    if not copy.findings and [change.kind for change in found] == ["appended"]:
        # It goes on soundly: then the other one was cut, or records were added with hashes of their own.
        cut = Change("truncated", found[0].line, found[0].lines)
        message = f"{other.name} ends {cut.lines} records before {copy.name}, which goes on from its head"
        return [_error("LEDGER_TRUNCATED", message, **_details(other, cut))]
    return [_named(copy, other, change) for change in found]


def _named(copy: Copy, other: Copy, change: Change) -> Finding:
    if change.kind == "truncated":
        message = f"{copy.name} lacks its last {change.lines} records"
        return _error("LEDGER_TRUNCATED", message, **_details(copy, change))
    more = f" and {change.lines - 1} more" if change.lines > 1 else ""
    message = f"record {change.line}{more} of {copy.name}: {change.kind}"
    return _error(_code(copy, other, change), message, **_details(copy, change))


def _code(copy: Copy, other: Copy, change: Change) -> str:
    """What a reader of the chain alone meets at the first line of a change."""
    line = copy.lines[change.line] if change.line < len(copy.lines) else b""
    if change.kind == "reordered":
        return "LEDGER_SEQ"
    if change.kind == "removed" or line in other.lines:
        first = other.lines[0]
        return "LEDGER_GENESIS" if change.line == 0 or line == first else "LEDGER_SEQ"
    record = record_of(line)
    if record is None:
        return "LEDGER_PARSE"
    if change.line and record.get("type") == "genesis":
        return "LEDGER_GENESIS"
    before = record_of(other.lines[change.line - 1]) if 0 < change.line <= len(other.lines) else None
    found = problem(record, change.line, str(before["hash"]) if before else GENESIS_HASH)
    if found is not None:
        return found[0]
    # It holds by itself: it was sealed anew, or is only written in another form.
    return "LEDGER_LINK" if in_form(line, record) else "LEDGER_PARSE"


def _details(copy: Copy, change: Change) -> dict[str, Any]:
    return {"copy": copy.name, "line": change.line, "change": change.kind, "lines": change.lines}


def _head_file(root: Path, file: Copy) -> list[Finding]:
    try:
        head = parse_strict((root / "audit_head.json").read_bytes())
    except (FileNotFoundError, QuantError):
        return [_error("LEDGER_HEAD_MISSING", "audit_head.json is missing or unreadable")]
    if not isinstance(head, dict):
        return [_error("LEDGER_HEAD_MISSING", "audit_head.json is no object")]
    last = file.records[-1] if file.records else {}
    expected = {"seq": last.get("seq"), "hash": last.get("hash"), "closed": last.get("type") == "closed",
                "run_id": last.get("run_id"), "bytes": sum(map(len, file.lines))}  # fmt: skip
    wrong = sorted(name for name, value in expected.items() if head.get(name) != value)
    if file.records and wrong:
        names = ", ".join(wrong)
        return [_error("LEDGER_TRUNCATED", f"audit_head.json names another head than {FILE} has: {names}")]
    return []


def _given(head: str | None, file: Copy, state: Copy | None) -> list[Finding]:
    """The head that a reviewer noted is a record of each copy: the chain may have gone on since."""
    if head is None:
        return []
    return [
        _error(
            "LEDGER_TRUNCATED", f"the head you gave ({head[:12]}) is no record of {copy.name}", copy=copy.name
        )
        for copy in _copies(file, state)
        if head not in {record.get("hash") for record in copy.records}
    ]


def _copies(file: Copy, state: Copy | None) -> Iterator[Copy]:
    yield file
    if state is not None:
        yield state


def _error(code: str, message: str, **details: Any) -> Finding:
    return Finding(level="ERROR", code=code, message=message, details=details)
