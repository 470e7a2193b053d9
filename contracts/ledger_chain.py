"""The hash chain of the run ledger: how a record is sealed, and how a chain is verified.

`hash` covers the whole record, so a change anywhere breaks the chain; `body_hash` leaves out what
depends on time and place (`seq, ts, span_id` and the hashes), so equal runs have equal bodies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from quantctl.contracts.canonical import canonical, hash_json, sha256_hex
from quantctl.contracts.stage import Finding

GENESIS_HASH = "0" * 64
ANCHOR = "CHILD_CLOSED"  # the event by which a parent's chain holds the head of a child's chain
TIMELESS_OUT = frozenset({"seq", "ts", "span_id", "prev_hash", "hash", "body_hash"})
FIELDS = frozenset({
    "v", "seq", "ts", "type", "run_id", "profile", "trace_id", "span_id", "step", "attempt", "status",
    "code", "inputs", "outputs", "data", "prev_hash", "body_hash", "hash",
})  # fmt: skip


_ORDER = sorted(FIELDS)
_BODY = [name for name in _ORDER if name not in TIMELESS_OUT]


def seal(record: Mapping[str, Any], prev_hash: str) -> dict[str, Any]:
    """`record` with `prev_hash`, `body_hash` and `hash`; raises `ARTIFACT_NONFINITE` on NaN."""
    sealed = dict(record) | {"prev_hash": prev_hash, "body_hash": body_hash(record)}
    return sealed | {"hash": record_hash(sealed)}


def body_hash(record: Mapping[str, Any]) -> str:
    """sha256 of the canonical record without what depends on time, place and position."""
    return hash_json({k: v for k, v in _timeless(record).items() if k not in TIMELESS_OUT})


def _timeless(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record without the head that it anchors: another chain's hash depends on that chain's times."""
    if record.get("code") != ANCHOR or "head_hash" not in record["data"]:
        return record
    data = {k: v for k, v in record["data"].items() if k != "head_hash"}
    return {**record, "data": data}


def record_hash(record: Mapping[str, Any]) -> str:
    """sha256 of the canonical record without `hash`."""
    return hash_json({k: v for k, v in record.items() if k != "hash"})


def body_chain(records: Iterable[Mapping[str, Any]]) -> str:
    """sha256 of the body hashes in sequence, one per line: how a ledger is referred to."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(f"{record['body_hash']}\n".encode())
    return digest.hexdigest()


def verify_chain(
    records: Sequence[Mapping[str, Any]], head: Mapping[str, Any] | None = None, *, terminal: bool = False
) -> list[Finding]:
    """Findings (all ERROR) of a chain; empty when it holds.

    head : `{seq, hash}` from outside the file, against which a cut tail shows
    terminal : the run is over, so its last record must be `closed`
    """
    if not records:
        return [_error("LEDGER_GENESIS", "the ledger has no record")]
    findings = _genesis(records) + _links(records) + _constants(records)
    last = records[-1]
    if head is not None and (head["seq"], head["hash"]) != (last.get("seq"), last.get("hash")):
        findings.append(_error(
            "LEDGER_TRUNCATED", f"head is at record {head['seq']}, the last one found is {last.get('seq')}"
        ))  # fmt: skip
    elif terminal and last.get("type") != "closed":
        findings.append(_error("LEDGER_TRUNCATED", "the run is over, but its last record is not `closed`"))
    return findings


def _genesis(records: Sequence[Mapping[str, Any]]) -> list[Finding]:
    places = [i for i, record in enumerate(records) if record.get("type") == "genesis"]
    if places == [0]:
        return []
    return [_error("LEDGER_GENESIS", f"genesis records at {places}; record 0 must be the only one")]


def _links(records: Sequence[Mapping[str, Any]]) -> list[Finding]:
    previous = GENESIS_HASH
    for line, record in enumerate(records):
        found = problem(record, line, previous)
        if found is not None:
            code, message = found
            return [_error(code, f"record {line}: {message}", line=line)]
        previous = record["hash"]
    return []


def problem(record: Mapping[str, Any], line: int, previous: str) -> tuple[str, str] | None:
    """(code, message) of what is wrong with one record at its place in the chain; null where it holds.

    previous : the hash of the record before
    """
    if set(record) != FIELDS:
        return "LEDGER_PARSE", f"fields differ: {sorted(set(record) ^ FIELDS)}"
    if record["seq"] != line or isinstance(record["seq"], bool):
        return "LEDGER_SEQ", f"seq is {record['seq']}"
    if record["prev_hash"] != previous:
        return "LEDGER_LINK", "prev_hash is not the hash of the record before"
    if (record["body_hash"], record["hash"]) != _hashes(record):
        return "LEDGER_HASH", "the record was changed after it was sealed"
    return None


def _hashes(record: Mapping[str, Any]) -> tuple[str, str]:
    """`body_hash` and `hash` of a whole record, its fields made canonical once."""
    if record["code"] == ANCHOR:
        return body_hash(record), record_hash(record)
    texts = {name: canonical(record[name]) for name in _ORDER}
    hashed = (_BODY, [name for name in _ORDER if name != "hash"])
    body, whole = (
        sha256_hex(b"{" + b",".join(b'"%b":%b' % (name.encode(), texts[name]) for name in names) + b"}")
        for names in hashed
    )
    return body, whole


def _constants(records: Sequence[Mapping[str, Any]]) -> list[Finding]:
    first = records[0]
    for line, record in enumerate(records):
        for name in ("run_id", "profile", "trace_id"):
            if record.get(name) != first.get(name):
                code = "LEDGER_TRACE" if name == "trace_id" else "LEDGER_LINK"
                return [_error(code, f"record {line}: {name} is {record.get(name)!r}", line=line)]
    return []


def _error(code: str, message: str, **details: Any) -> Finding:
    return Finding(level="ERROR", code=code, message=message, details=details)


def line_of(record: Mapping[str, Any]) -> bytes:
    """A record as a line of `audit.jsonl`."""
    return canonical(record) + b"\n"
