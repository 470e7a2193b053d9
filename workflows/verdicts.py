"""From a gate's judgement to its verdict file and its error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantctl.contracts.errors import GateFailed, QuantError
from quantctl.contracts.stage import Finding, GateSpec, Judgement, RunFacts


def verdict(
    gate: GateSpec, judgement: Judgement, run: RunFacts, inputs: Mapping[str, str | None]
) -> dict[str, Any]:
    """The envelope `quantctl.gate/1`: FAIL iff it has errors, WARN iff it has warnings only."""
    findings = list(judgement.findings)
    examined = any(judgement.checked.values())
    if not examined and not any(finding.level == "ERROR" for finding in findings):
        findings.append(_nothing_checked(gate))
    findings.sort(key=Finding.sort_key)
    errors = sum(finding.level == "ERROR" for finding in findings)
    warnings = sum(finding.level == "WARN" for finding in findings)
    return {
        **judgement.extra,
        "schema": "quantctl.gate/1",
        "gate": gate.id,
        "run_id": run.run_id,
        "profile": run.profile,
        "trace_id": run.trace_id,
        "status": "FAIL" if errors else "WARN" if warnings else "PASS",
        "errors": errors,
        "warnings": warnings,
        "findings": [finding.model_dump() | {"run_id": run.run_id} for finding in findings],
        "checked": dict(judgement.checked),
        "inputs": dict(inputs),
    }


def failure(gate: GateSpec, judgement: Judgement, body: dict[str, Any], path: str) -> QuantError | None:
    """The typed error of a FAIL: the gate's own, or one with the code of its first ERROR."""
    if body["status"] != "FAIL":
        return None
    error = judgement.error
    if error is not None:
        error.remedy = error.remedy or f"quantctl show {body['run_id']} {gate.writes}"
        return error
    first = next(finding for finding in body["findings"] if finding["level"] == "ERROR")
    return GateFailed(
        first["code"],
        f"gate {gate.id} failed with {body['errors']} error(s); first: {first['message']}",
        where=path,
        remedy=first["details"].get("remedy", f"quantctl show {body['run_id']} {gate.writes}"),
    )


def code_of(body: dict[str, Any]) -> str | None:
    """Code of the first ERROR of a verdict, or null."""
    return next((f["code"] for f in body["findings"] if f["level"] == "ERROR"), None)


def _nothing_checked(gate: GateSpec) -> Finding:
    code = gate.own_code("NOTHING_CHECKED")
    return Finding(level="ERROR", code=code, message=f"gate {gate.id} had nothing to examine")
