"""Stage `report.validation` and its gates: G15 judges the ledger, G14 the run as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.canonical import parse_strict, sha256_hex
from quantctl.contracts.errors import QuantError
from quantctl.contracts.ledger_chain import body_chain
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.sleeve import SleeveSettings
from quantctl.contracts.stage import Finding, Judgement, Outcome, RunFacts, StageParams, gate, stage
from quantctl.steps.reporting.checks import Evidence, dated, required, run_checks
from quantctl.steps.reporting.ledger_checks import Files, check_ledger, noted_changes

Record = Mapping[str, Any]


class ValidationParams(StageParams):
    """Whether the sign gate is on, and which risk profile leads."""

    features: FeaturesSettings
    sleeve: SleeveSettings
    allocation: AllocationSettings

    @property
    def sign(self) -> bool:
        """The sign test runs always, unless a LONG sleeve switched it off."""
        return self.features.feat_directional_sign_test_gate_atomic or self.sleeve.direction != "LONG"


@stage("report.validation", writes=())
def validate() -> Outcome:
    """Close the run: its gates judge the ledger and every file."""
    return Outcome(outputs={})


@gate("ledger", stage="report.validation", order=1, writes="ledger_verdict", params=ValidationParams)
def ledger_gate(
    ledger_records: Sequence[Record],
    ledger_projection: bytes | None,
    run_files: Files,
    params: ValidationParams,
) -> Judgement:
    """Verify the hash chain, its balance, its projection and the files that it names."""
    return judge_ledger(ledger_records, ledger_projection, run_files, params, terminal=False)


def judge_ledger(
    records: Sequence[Record],
    projection: bytes | None,
    files: Files,
    params: ValidationParams,
    *,
    terminal: bool,
) -> Judgement:
    """The judgement of the ledger, inside a run or (`terminal`) in an audit."""
    findings = check_ledger(records, projection, files, sign=params.sign, terminal=terminal)
    findings += noted_changes(records)
    return Judgement(findings, {"records": len(records), "files": len(files)}, ledger_reference(records))


def ledger_reference(records: Sequence[Record]) -> dict[str, Any]:
    """How a ledger is referred to: its number of records and the hash of their bodies."""
    return {"records": len(records), "body_chain": body_chain(records)}


@gate(
    "atomic_validation", stage="report.validation", order=2, writes="atomic_validation",
    params=ValidationParams, renders=("atomic_validation_md", lambda body: render(body)),
)  # fmt: skip
def atomic_validation(
    run_files: Files, ledger_records: Sequence[Record], params: ValidationParams, run: RunFacts
) -> Judgement:
    """Check that the run is complete, consistent, conserving and unchanged since it was recorded."""
    return judge_run(run_files, ledger_records, params, run, ledger_errors=_ledger_errors(run_files))


def judge_run(
    files: Files,
    records: Sequence[Record],
    params: ValidationParams,
    run: RunFacts,
    *,
    ledger_errors: int | None,
    terminal: bool = False,
) -> Judgement:
    """The judgement of the run as a whole, from the bytes of its files; `terminal` once it is over."""
    evidence = Evidence(files, run, params.allocation.primary_risk_profile, params.sign)
    checks = run_checks(evidence, records, ledger_errors, terminal=terminal)
    findings = [
        Finding(level="ERROR", code=check.code, message=check.message, details={"family": check.family})
        for check in checks
        if not check.ok
    ]
    extra = {
        "require_sign_gate": params.sign,
        "artifacts": {name: _described(evidence, name, records, run) for name in required(params.sign)},
        "stats": _stats(evidence),
        "checks": [check.model_dump() for check in checks],
    }
    return Judgement(findings, {"checks": len(checks), "files": len(files)}, extra)


def _ledger_errors(files: Files) -> int | None:
    data = files.get(ARTIFACTS["ledger_verdict"].path)
    try:
        return None if data is None else int(parse_strict(data)["errors"])
    except (QuantError, KeyError, TypeError, ValueError):
        return None


def _described(evidence: Evidence, name: str, records: Sequence[Record], run: RunFacts) -> dict[str, Any]:
    """Path, existence, rows, and the hash by which the artifact may be referred to."""
    data = evidence.data(name)
    facts: dict[str, Any] = {"path": ARTIFACTS[name].path, "exists": data is not None, "rows": None}
    if name == "resolved_manifest":
        return facts | {"manifest_sha256": run.manifest_sha256}
    if name == "audit_ledger":
        return facts | ledger_reference(records)
    frame = evidence.frame(name) if ARTIFACTS[name].format == "parquet" else None
    rows = None if frame is None else frame.height
    return facts | {"rows": rows, "sha256": None if data is None else sha256_hex(data)}


def _stats(evidence: Evidence) -> dict[str, Any]:
    """Informational figures of the returns matrix and the atom table."""
    matrix, atoms = evidence.frame("returns_matrix"), evidence.frame("atoms")
    n_atoms = 0 if atoms is None else atoms.height
    if matrix is None or matrix.is_empty() or not dated(matrix):
        return {"n_days": 0, "n_symbols": 0, "n_atoms": n_atoms}
    dates = matrix["date"].cast(pl.Date)
    weekdays = set(dates.dt.weekday().to_list())
    gaps = np.diff(dates.to_physical().to_numpy())
    return {
        "n_days": dates.len(),
        "first": dates[0].isoformat(),
        "last": dates[-1].isoformat(),
        "has_saturday": 6 in weekdays,
        "has_sunday": 7 in weekdays,
        "n_gaps_gt_1d": int((gaps > 1).sum()),
        "max_gap_days": int(gaps.max()) if len(gaps) else 0,
        "n_symbols": matrix.width - 1,
        "n_atoms": n_atoms,
    }


def render(body: Mapping[str, Any]) -> str:
    """The Markdown of a validation, from its JSON alone."""
    lines = [
        f"# Atomic Validation: {body['profile']}", "", f"Run `{body['run_id']}`", "",
        f"## Status: {'FAIL' if body['status'] == 'FAIL' else 'PASS'}", "",
        f"{body['errors']} errors, {body['warnings']} warnings.", "", "| | family | code | message |",
        "|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {'ok' if c['ok'] else 'FAIL'} | {c['family']} | {c['code']} | {c['message']} |"
        for c in body.get("checks", [])
    ]
    lines += ["", "| artifact | path | rows | hash |", "|---|---|---:|---|"]
    for name, facts in sorted(body.get("artifacts", {}).items()):
        sha = facts.get("sha256") or facts.get("manifest_sha256") or facts.get("body_chain") or ""
        rows = "" if facts["rows"] is None else facts["rows"]
        lines.append(f"| {name} | `{facts['path']}` | {rows} | `{sha[:12]}` |")
    return "\n".join(lines) + "\n"
