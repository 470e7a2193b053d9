"""Children of a batch held against the heads that their parent's chain anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quantctl.contracts.ledger_chain import verify_chain
from quantctl.contracts.ledger_changes import record_of
from quantctl.contracts.records.batch import CHILD_CLOSED
from quantctl.contracts.stage import Finding
from quantctl.lake import ledger_copies
from quantctl.lake.state import Reader

Record = Mapping[str, Any]


def check_children(connection: Reader | None, runs_dir: Path, records: Sequence[Record]) -> list[Finding]:
    """`LEDGER_CHILD` for every child whose chain is not the one whose head the parent booked.

    runs_dir : where the directories of runs are
    records : of the parent, held to its own chain already

    Both copies of the child's ledger are looked at. details: `child`, `copy` and `change`: missing, edited,
    truncated, replaced (a sound chain with another head) or appended (it goes on, and not by a retry).
    """
    booked: dict[str, list[Record]] = {}
    for record in records:
        data = record.get("data")
        if record.get("code") == CHILD_CLOSED and isinstance(data, Mapping):
            booked.setdefault(str(data.get("run_id")), []).append(data)
    found = []
    for child, heads in booked.items():
        kept = ledger_copies.kept(connection, child)
        copies = {
            "audit.jsonl": ledger_copies.file_lines(runs_dir / child),
            "the state database": kept.lines if kept is not None else None,
        }
        for name, lines in copies.items():
            found += _judged(child, name, lines, heads)
    return found


def _judged(child: str, name: str, lines: list[bytes] | None, heads: Sequence[Record]) -> list[Finding]:
    """The first thing that is wrong with one copy of a child's ledger."""
    if lines is None:
        return [_finding(child, name, "missing", "is missing")]
    records = [record_of(line) for line in lines]
    whole = [record for record in records if record is not None]
    if len(whole) < len(records):
        return [_finding(child, name, "edited", f"was edited: line {records.index(None)} is no record")]
    for head in heads:
        seq = head["head_seq"]
        broken = verify_chain(whole[: seq + 1])
        if broken:
            return [_finding(child, name, "edited", f"was edited: {broken[0].message}")]
        if len(whole) <= seq:
            return [_finding(child, name, "truncated", f"was cut: its parent booked record {seq}")]
        if whole[seq]["hash"] != head["head_hash"]:
            return [_finding(child, name, "replaced", f"is another chain: record {seq} has another hash")]
        if len(whole) > seq + 1 and whole[seq + 1]["code"] != "REOPENED":
            return [_finding(child, name, "appended", f"goes on after record {seq}, and not by a retry")]
    return []


def _finding(child: str, copy: str, change: str, what: str) -> Finding:
    message = f"the ledger of child {child} in {copy} {what}"
    details = {"child": child, "copy": copy, "change": change}
    return Finding(level="ERROR", code="LEDGER_CHILD", message=message, details=details)
