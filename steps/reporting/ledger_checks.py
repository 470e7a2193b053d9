"""The ledger of a run held against itself, its projection and the files of the run directory."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from quantctl.contracts.artifacts import ARTIFACTS, path_of
from quantctl.contracts.canonical import parse_strict, sha256_hex
from quantctl.contracts.errors import QuantError
from quantctl.contracts.ledger_chain import line_of, verify_chain
from quantctl.contracts.stage import Finding
from quantctl.steps.reporting.history import (
    STAGE,
    Records,
    changed_files,
    noted_damage,
    recorded_files,
    reopenings,
    stages_of,
)

Files = Mapping[str, bytes | None]

MANDATORY = (
    "gate_foundation", "gate_candidates", "gate_l0", "gate_l1_l2", "gate_winners", "gate_enrichment",
    "gate_l3", "gate_regime", "gate_l4_synthetic", "gate_l4_physical",
)  # fmt: skip
SIGN_VERDICTS = ("sign_test_pre_opt", "sign_test")
LAST_VERDICTS = ("ledger_verdict", "atomic_validation")


class _Declared(NamedTuple):
    """A relaxation that a file declares, and the bookings of which one must be in the ledger."""

    path: str
    state: str
    accepted: set[tuple[str, str | None]]


def check_ledger(
    records: Records, projection: bytes | None, files: Files, *, sign: bool, terminal: bool = False
) -> list[Finding]:
    """Findings (all ERROR) of the ledger; empty when it holds.

    records : the ledger of the state database; projection : the bytes of `audit.jsonl`
    files : bytes by path, those in `attempts/<n>/` among them; sign : whether the sign gate is on
    terminal : the run is over, so it is closed and its validation has gate records too
    """
    findings = verify_chain(records, terminal=terminal)
    if findings and findings[0].code in ("LEDGER_GENESIS", "LEDGER_PARSE"):
        return findings + _projection(records, projection, terminal)
    findings += _closings(records) + _traces(records) + _balance(records) + _unstarted(records, terminal)
    findings += _projection(records, projection, terminal) + _gates(records, files, sign, terminal)
    findings += _artifacts(records, files, terminal) + _untyped(records, files)
    return findings


def noted_changes(records: Records) -> list[Finding]:
    """A warning for each file that a retry found changed and set aside."""
    return [
        Finding(
            level="WARN", code="SUPERSEDED_CORRUPT", details={"path": path},
            message=f"{path} had changed before a retry set it aside; the ledger notes its hash",
        )
        for path, _ in sorted(noted_damage(records))
    ]  # fmt: skip


def _closings(records: Records) -> list[Finding]:
    """Every `closed` but the last record is followed by REOPENED."""
    return [
        _error("LEDGER_TRUNCATED", f"record {here['seq']} closes the run, but no REOPENED follows it")
        for here, after in itertools.pairwise(records)
        if here["type"] == "closed" and after["code"] != "REOPENED"
    ]


def _traces(records: Records) -> list[Finding]:
    missing = [record["seq"] for record in records if not record.get("trace_id")]
    return [_error("LEDGER_TRACE", f"record {seq} has no trace_id") for seq in missing[:3]]


def _balance(records: Records) -> list[Finding]:
    intents: Counter[tuple[str, int]] = Counter()
    outcomes: Counter[tuple[str, int]] = Counter()
    for record in records:
        if record["type"] == "stage" and record["status"] != "skipped":
            counter = intents if record["status"] == "intent" else outcomes
            counter[(str(record["step"]), int(record["attempt"]))] += 1
    wrong = sorted(key for key in intents | outcomes if intents[key] != outcomes[key])
    return [
        _error(
            "LEDGER_UNBALANCED",
            f"{step} attempt {n}: {intents[step, n]} intents, {outcomes[step, n]} outcomes",
        )
        for step, n in wrong
    ]


def _projection(records: Records, projection: bytes | None, terminal: bool) -> list[Finding]:
    expected = b"".join(line_of(record) for record in records)
    if projection is None or not projection.startswith(expected):
        return [_error("LEDGER_PROJECTION", "audit.jsonl is not the ledger of the state database")]
    rest = projection[len(expected) :]
    if rest and (terminal or not all(_of_this_stage(line) for line in rest.splitlines())):
        return [_error("LEDGER_PROJECTION", "audit.jsonl holds records that the state database does not")]
    return []


def _of_this_stage(line: bytes) -> bool:
    try:
        return bool(parse_strict(line)["step"] == STAGE)
    except (QuantError, KeyError, TypeError):
        return False


def _unstarted(records: Records, terminal: bool) -> list[Finding]:
    """Per attempt every stage that it covers has one outcome, or one `skipped` record, never both."""
    order = stages_of(records)
    ends = Counter(
        (str(r["step"]), int(r["attempt"]))
        for r in records
        if r["type"] == "stage" and r["status"] != "intent"
    )
    firsts = [(1, 0)] + [
        (retry.attempt, order.index(retry.from_stage))
        for retry in reopenings(records, terminal=terminal) if retry.from_stage in order
    ]  # fmt: skip
    last = firsts[-1][0]
    wrong = [
        (step, attempt, ends[step, attempt]) for attempt, first in firsts for step in order[first:]
        if ends[step, attempt] != 1 and (terminal or (attempt, step) != (last, STAGE))
    ]  # fmt: skip
    return [
        _error("LEDGER_UNBALANCED", f"{step} attempt {attempt}: {n} outcomes or skipped records, not 1")
        for step, attempt, n in wrong
    ]


def _gates(records: Records, files: Files, sign: bool, terminal: bool) -> list[Finding]:
    """Every mandatory gate has a record with the sha256 of its verdict file, and the same counts."""
    standing = {v.name: v.attempt for v in recorded_files(records, terminal=terminal) if not v.aside}
    booked = {
        (r["outputs"][0]["name"], r["attempt"]): r for r in records if r["type"] == "gate" and r["outputs"]
    }  # fmt: skip
    found = []
    for name in (*MANDATORY, *(SIGN_VERDICTS if sign else ()), *(LAST_VERDICTS if terminal else ())):
        path = path_of(name, profile=str(records[0]["profile"]), run_id=str(records[0]["run_id"]))
        data, record = files.get(path), booked.get((name, standing.get(name)))
        if record is None or _sha(data) != record["outputs"][0]["sha256"]:
            message = f"no gate record with the sha256 of {path}"
            found.append(_error("LEDGER_GATE_MISSING", message, symbol=name))
            continue
        verdict = _json(files, path) or {}
        counts = ("status", "errors", "warnings")
        if [verdict.get(key) for key in counts] != [record["data"].get(key) for key in counts]:
            message = f"{path} is {verdict.get('status')}, its record {record['data'].get('status')}"
            found.append(_error("LEDGER_UNTYPED", message, symbol=name))
    return found


def _artifacts(records: Records, files: Files, terminal: bool) -> list[Finding]:
    return [
        _error("LEDGER_ARTIFACT", f"{version.place} is not the file its record names", symbol=version.name)
        for version in changed_files(records, files, terminal=terminal)
    ]


def _sha(data: bytes | None) -> str | None:
    return None if data is None else sha256_hex(data)


def _untyped(records: Records, files: Files) -> list[Finding]:
    booked = _booked(records)
    return [
        _error("LEDGER_UNTYPED", f"{declared.state} in {declared.path} has no ledger record",
               symbol=declared.state)
        for declared in _declared(files) if not booked & declared.accepted
    ]  # fmt: skip


def _booked(records: Records) -> set[tuple[str, str | None]]:
    """(code, risk profile or null) of every decision; a result counts with its status."""
    found: set[tuple[str, str | None]] = set()
    for record in records:
        if record["type"] not in ("decision", "event"):
            continue
        details = record["data"].get("details", record["data"])
        code = str(record["code"])
        if code == "ALLOCATION_RESULT":
            code = f"{code}:{details.get('status')}"
        found |= {(code, None), (code, details.get("profile")), (code, details.get("from"))}
    return found


def _declared(files: Files) -> list[_Declared]:
    """Every relaxation that an artifact declares."""
    found: list[_Declared] = []
    audit_path = ARTIFACTS["selection_audit"].path
    if (_json(files, audit_path) or {}).get("scarcity"):
        found.append(_Declared(audit_path, "SCARCITY", {("SCARCITY", None)}))
    for name in ("portfolio_optimized_v2", "portfolio_flattened"):
        path = ARTIFACTS[name].path
        profiles = (_json(files, path) or {}).get("profiles")
        for key, profile in sorted(profiles.items()) if isinstance(profiles, Mapping) else ():
            if isinstance(profile, Mapping):
                found += _states(path, str(key), profile)
    return found


def _states(path: str, name: str, profile: Mapping[str, Any]) -> list[_Declared]:
    accepted: dict[str, set[tuple[str, str | None]]] = {
        "FALLBACK": {("ALLOCATION_FALLBACK", name)},
        "INFEASIBLE": {("INFEASIBLE", name), ("ALLOCATION_RESULT:INFEASIBLE", name)},
        "ALL_CASH": {("ALL_CASH", name)},
    }
    status = str(profile.get("status"))
    found = [_Declared(path, status, accepted[status])] if status in accepted else []
    constraints = profile.get("constraints")
    if isinstance(constraints, Mapping) and constraints.get("cap_relaxed"):
        found.append(_Declared(path, "CAP_RELAXED", {("CAP_RELAXED", None)}))
    return found


def _json(files: Files, path: str) -> dict[str, Any] | None:
    data = files.get(path)
    try:
        value = parse_strict(data) if data is not None else None
    except QuantError:
        return None
    return value if isinstance(value, dict) else None


def _error(code: str, message: str, *, symbol: str | None = None) -> Finding:
    return Finding(level="ERROR", code=code, message=message, symbol=symbol)
