"""The ledger of a run held against itself, its projection and the files of the run directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.canonical import parse_strict, sha256_hex
from quantctl.contracts.errors import QuantError
from quantctl.contracts.ledger_chain import line_of, verify_chain
from quantctl.contracts.stage import Finding

Files = Mapping[str, bytes | None]
Records = Sequence[Mapping[str, Any]]

STAGE = "report.validation"
MANDATORY = (
    "gate_foundation", "gate_candidates", "gate_l0", "gate_l1_l2", "gate_winners", "gate_enrichment",
    "gate_l3", "gate_regime", "gate_l4_synthetic", "gate_l4_physical",
)  # fmt: skip
SIGN_VERDICTS = ("sign_test_pre_opt", "sign_test")


def check_ledger(
    records: Records, projection: bytes | None, files: Files, *, sign: bool, terminal: bool = False
) -> list[Finding]:
    """Findings (all ERROR) of the ledger; empty when it holds.

    records : the ledger of the state database; projection : the bytes of `audit.jsonl`
    files : bytes by path; sign : whether the sign gate is on; terminal : the run is over
    """
    findings = verify_chain(records, terminal=terminal)
    findings += _traces(records) + _balance(records) + _projection(records, projection, terminal)
    findings += _gates(records, files, sign) + _artifacts(records, files) + _untyped(records, files)
    return findings


def last_outputs(records: Records) -> dict[str, Mapping[str, Any]]:
    """Path to the last reference by which a record names it."""
    found: dict[str, Mapping[str, Any]] = {}
    for record in records:
        found.update({output["path"]: output for output in record["outputs"]})
    return found


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


def _gates(records: Records, files: Files, sign: bool) -> list[Finding]:
    seen = {
        output["name"]: output for r in records if r["type"] == "gate" for output in r["outputs"][:1]
    }  # fmt: skip
    found = []
    for name in (*MANDATORY, *(SIGN_VERDICTS if sign else ())):
        path = ARTIFACTS[name].path
        data = files.get(path)
        recorded = seen.get(name, {}).get("sha256")
        if recorded is None or data is None or sha256_hex(data) != recorded:
            message = f"no gate record with the sha256 of {path}"
            found.append(_error("LEDGER_GATE_MISSING", message, symbol=name))
    return found


def _artifacts(records: Records, files: Files) -> list[Finding]:
    return [
        _error("LEDGER_ARTIFACT", f"{path} is not the file its record names", symbol=output["name"])
        for path, output in sorted(last_outputs(records).items())
        if output["name"] in ARTIFACTS and not ARTIFACTS[output["name"]].timed
        and _sha(files.get(path)) != output["sha256"]
    ]  # fmt: skip


def _sha(data: bytes | None) -> str | None:
    return None if data is None else sha256_hex(data)


def _untyped(records: Records, files: Files) -> list[Finding]:
    codes = {record["code"] for record in records if record["type"] in ("decision", "event", "gate", "stage")}
    return [
        _error("LEDGER_UNTYPED", f"{state} in {path} has no ledger record", symbol=state)
        for path, state, accepted in _declared(files)
        if not codes & accepted
    ]


def _declared(files: Files) -> list[tuple[str, str, set[str]]]:
    """(path, state, codes of which one must be in the ledger) for every relaxation in an artifact."""
    found: list[tuple[str, str, set[str]]] = []
    audit_path = ARTIFACTS["selection_audit"].path
    if (_json(files, audit_path) or {}).get("scarcity"):
        found.append((audit_path, "SCARCITY", {"SCARCITY"}))
    for name in ("portfolio_optimized_v2", "portfolio_flattened"):
        path = ARTIFACTS[name].path
        for profile in ((_json(files, path) or {}).get("profiles") or {}).values():
            found += [(path, state, codes) for state, codes in _states(profile)]
    return found


def _states(profile: Mapping[str, Any]) -> list[tuple[str, set[str]]]:
    status = profile.get("status")
    chain = {entry.get("code") for entry in profile.get("fallback_chain", [])} - {None}
    found = []
    if status in ("FALLBACK", "INFEASIBLE", "ALL_CASH"):
        found.append((str(status), {str(status), f"ALLOCATION_{status}", str(profile.get("reason"))} | chain))
    if (profile.get("constraints") or {}).get("cap_relaxed"):
        found.append(("CAP_RELAXED", {"CAP_RELAXED"}))
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
