"""The checks of atomic validation (gates page, section 8): pure functions over the bytes of a run.

Every check runs, also after a failure; what cannot be read is a failure.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Any

import numpy as np
import polars as pl
from pydantic import ValidationError

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.canonical import parse_strict, sha256_hex
from quantctl.contracts.errors import QuantError
from quantctl.contracts.records.run import manifest_hash
from quantctl.contracts.records.validation import Check
from quantctl.contracts.records.weights import PhysicalPortfolio, SolverPortfolio
from quantctl.contracts.stage import RunFacts
from quantctl.steps.reporting.history import Recorded, Records, changed_files
from quantctl.steps.reporting.ledger_checks import Files

SUM = 1e-9
KAPPA_LIMIT = 5000.0
REQUIRED = (
    "resolved_manifest", "audit_ledger", "returns_matrix", "synthetic_returns", "portfolio_optimized_v2",
    "portfolio_flattened", "atoms", "synthetic_gates",
)  # fmt: skip
ATOM_TYPES = {"atom": pl.String, "symbol": pl.String, "factor": pl.Int8, "deploy_gate": pl.Int8}
SIGN = {"PRE": "sign_test_pre_opt", "POST": "sign_test"}


@dataclass
class Evidence:
    """The bytes of a run, what they parse to, and the checks so far."""

    files: Files
    run: RunFacts
    primary: str
    sign: bool
    checks: list[Check] = field(default_factory=list)

    def check(self, ok: bool, family: str, code: str, message: str) -> bool:
        """Record a check; returns whether it passed."""
        self.checks.append(Check(ok=ok, family=family, code=code, message=message))
        return ok

    def data(self, name: str) -> bytes | None:
        """Bytes of an artifact, null where it is absent or unreadable."""
        return self.files.get(ARTIFACTS[name].path)

    def json(self, name: str) -> Any:
        """Strictly parsed JSON of an artifact, null where there is none."""
        data = self.data(name)
        try:
            return None if data is None else parse_strict(data)
        except QuantError:
            return None

    def frame(self, name: str) -> pl.DataFrame | None:
        """Frame of a Parquet artifact, null where it cannot be read."""
        data = self.data(name)
        try:
            return None if data is None else pl.read_parquet(io.BytesIO(data))
        except (pl.exceptions.PolarsError, OSError):
            return None


def required(sign: bool) -> tuple[str, ...]:
    """Artifact names that an atomic-complete run has."""
    return REQUIRED + (tuple(SIGN.values()) if sign else ())


def run_checks(
    evidence: Evidence, records: Records, ledger_errors: int | None, *, terminal: bool
) -> list[Check]:
    """Every check in order.

    ledger_errors : the count of the ledger verdict, null without one; terminal : the run is over
    """
    missing = [name for name in required(evidence.sign) if not evidence.data(name)]
    evidence.check(
        not missing, "ATOMIC_MISSING_ARTIFACT", "ATOMIC_MISSING_ARTIFACTS",
        f"missing: {', '.join(missing)}" if missing else "every required artifact is there",
    )  # fmt: skip
    _manifest(evidence)
    _sign_tests(evidence)
    _returns(evidence)
    solver = _weights(evidence, "portfolio_optimized_v2", "OPT", SolverPortfolio)
    physical = _weights(evidence, "portfolio_flattened", "FLATTEN", PhysicalPortfolio)
    _conservation(evidence, solver, physical)
    _kappa(evidence, solver)
    changed = changed_files(records, evidence.files, terminal=terminal)
    _stale(evidence, changed, [w for w in (solver, physical) if w is not None])
    evidence.check(
        ledger_errors == 0,
        "ATOMIC_LEDGER",
        "ATOMIC_LEDGER_FAIL",
        f"ledger verdict has {ledger_errors} errors",
    )
    return evidence.checks


def _manifest(evidence: Evidence) -> None:
    manifest = evidence.json("resolved_manifest")
    readable = isinstance(manifest, Mapping)
    evidence.check(readable, "ATOMIC_PARSE", "ATOMIC_MANIFEST_PARSE", "the manifest is strict JSON")
    if readable:
        found = (manifest.get("profile"), manifest.get("run_id"))
        ok = found == (evidence.run.profile, evidence.run.run_id)
        message = f"manifest names profile {found[0]} and run {found[1]}"
        evidence.check(ok, "ATOMIC_PROFILE_MISMATCH", "ATOMIC_PROFILE_MISMATCH", message)


def _sign_tests(evidence: Evidence) -> None:
    if not evidence.sign:
        return
    for phase, name in SIGN.items():
        verdict = evidence.json(name)
        if evidence.data(name) is None:
            kind, ok, message = "MISSING", False, f"{ARTIFACTS[name].path} is absent"
        elif not isinstance(verdict, Mapping):
            kind, ok, message = "PARSE", False, f"{ARTIFACTS[name].path} is not strict JSON"
        else:
            kind, ok, message = "FAIL", *_verdict_holds(verdict)
        evidence.check(ok, "ATOMIC_SIGN_TEST", f"ATOMIC_SIGN_TEST_{phase}_{kind}", message)


def _verdict_holds(verdict: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether a sign verdict has no error, counts that match its findings, and examined atoms."""
    findings, checked = verdict.get("findings"), verdict.get("checked")
    listed = findings if isinstance(findings, list) else []
    levels = [f.get("level") if isinstance(f, Mapping) else "ERROR" for f in listed]
    errors, warnings = levels.count("ERROR"), levels.count("WARN")
    atoms = checked.get("atoms", 0) if isinstance(checked, Mapping) else 0
    examined = isinstance(atoms, int) and atoms > 0
    consistent = (verdict.get("errors", 1), verdict.get("warnings", 1)) == (errors, warnings)
    ok = errors == 0 and consistent and examined and verdict.get("status") in ("PASS", "WARN")
    return ok, f"{errors} errors over {atoms} atoms; status {verdict.get('status')}"


def _returns(evidence: Evidence) -> None:
    frame = evidence.frame("returns_matrix")
    if not evidence.check(
        frame is not None, "ATOMIC_PARSE", "ATOMIC_RETURNS_PARSE", "the returns matrix is readable"
    ):
        return
    assert frame is not None
    shape = f"{frame.height} rows and {max(frame.width - 1, 0)} columns"
    if evidence.check(frame.height > 0 and frame.width > 1, "ATOMIC_EMPTY", "ATOMIC_EMPTY_RETURNS", shape):
        evidence.check(_sound(frame), "ATOMIC_PARSE", "ATOMIC_L0_FAIL", "dates increase, returns in [-1, 5]")


def _sound(frame: pl.DataFrame) -> bool:
    if frame.columns[0] != "date" or not dated(frame):
        return False
    values = frame.drop("date")
    if any(dtype != pl.Float64 for dtype in values.dtypes):
        return False
    array = values.to_numpy()
    return _rises(frame) and bool(((array >= -1.0) & (array <= 5.0)).all())


def dated(frame: pl.DataFrame) -> bool:
    """Whether `frame` has a column `date` of instants, none of them null."""
    if "date" not in frame.columns:
        return False
    return isinstance(frame["date"].dtype, pl.Datetime) and frame["date"].null_count() == 0


def _rises(frame: pl.DataFrame) -> bool:
    stamps = frame["date"].to_physical().to_numpy()
    return bool((np.diff(stamps) > 0).all())


def _weights(evidence: Evidence, name: str, short: str, model: type[Any]) -> Any | None:
    body = evidence.json(name)
    if not evidence.check(
        isinstance(body, Mapping), "ATOMIC_PARSE", f"ATOMIC_{short}_PARSE", f"{name} is strict JSON"
    ):
        return None
    try:
        portfolio = model.model_validate(body)
    except ValidationError as problem:
        first = problem.errors()[0]
        message = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        evidence.check(False, "ATOMIC_PARSE", f"ATOMIC_{short}_SCHEMA", message)
        return None
    wrong = [key for key, profile in sorted(portfolio.profiles.items()) if not _sums_hold(profile)]
    evidence.check(not wrong, "ATOMIC_PARSE", f"ATOMIC_{short}_SCHEMA", f"sums do not hold in {wrong}")
    held = portfolio.profiles.get(evidence.primary)
    empty = f"ATOMIC_EMPTY_{'PRIMARY' if short == 'OPT' else 'FLATTENED'}"
    filled = held is not None and (bool(held.assets) or held.status == "ALL_CASH")
    evidence.check(filled, "ATOMIC_EMPTY", empty, f"risk profile {evidence.primary} of {name}")
    return portfolio


def _sums_hold(profile: Any) -> bool:
    if not profile.assets and profile.status in ("INFEASIBLE", "SKIPPED"):
        return True
    totals = profile.totals
    gross = fsum(asset.Weight for asset in profile.assets)
    net = fsum(asset.Net_Weight for asset in profile.assets)
    whole = totals.gross + totals.cash + getattr(totals, "gated_cash", 0.0)
    return bool(max(abs(gross - totals.gross), abs(net - totals.net), abs(whole - 1.0)) <= SUM)


def _conservation(evidence: Evidence, solver: Any, physical: Any) -> None:
    atoms = evidence.frame("atoms")
    if solver is None or physical is None or atoms is None:
        return
    if not _usable(atoms):
        message = f"the atom table needs {', '.join(ATOM_TYPES)} without nulls"
        evidence.check(False, "ATOMIC_PARSE", "ATOMIC_CONSERVATION", message)
        return
    table = {row["atom"]: row for row in atoms.iter_rows(named=True)}
    wrong = sorted(set(solver.profiles) ^ set(physical.profiles))
    for name in sorted(set(solver.profiles) & set(physical.profiles)):
        if not _flat_equals(solver.profiles[name], physical.profiles[name], table):
            wrong.append(name)
    message = f"recomputed from the atoms, {wrong} differ" if wrong else "every sum follows from the atoms"
    evidence.check(not wrong, "ATOMIC_PARSE", "ATOMIC_CONSERVATION", message)


def _usable(atoms: pl.DataFrame) -> bool:
    return all(
        name in atoms.columns and atoms[name].dtype == kind and atoms[name].null_count() == 0
        for name, kind in ATOM_TYPES.items()
    )


def _flat_equals(solver: Any, physical: Any, table: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether gross, net and gated cash per symbol follow from the solver's atoms."""
    gross: dict[str, list[float]] = defaultdict(list)
    net: dict[str, list[float]] = defaultdict(list)
    gated = []
    for asset in solver.assets:
        row = table.get(asset.Symbol)
        if row is None:
            return False
        held = asset.Weight * row["deploy_gate"]
        gated.append(asset.Weight - held)
        gross[row["symbol"]].append(held)
        net[row["symbol"]].append(held * row["factor"])
    found = {asset.Symbol: (asset.Weight, asset.Net_Weight) for asset in physical.assets}
    expected = {s: (fsum(gross[s]), fsum(net[s])) for s in gross if fsum(gross[s]) > 0.0}
    if set(found) != set(expected) or abs(fsum(gated) - physical.totals.gated_cash) > SUM:
        return False
    return all(abs(a - b) <= SUM for s in found for a, b in zip(found[s], expected[s], strict=True))


def _kappa(evidence: Evidence, solver: Any) -> None:
    if solver is None:
        return
    wrong = [
        name for name, profile in sorted(solver.profiles.items())
        if profile.assets and not profile.conditioning.kappa < KAPPA_LIMIT
    ]  # fmt: skip
    evidence.check(not wrong, "ATOMIC_PARSE", "ATOMIC_KAPPA", f"kappa below {KAPPA_LIMIT:g}; not in {wrong}")


def _stale(evidence: Evidence, changed: Sequence[Recorded], weights: Sequence[Any]) -> None:
    stale = [version.place for version in changed]
    manifest = evidence.json("resolved_manifest")
    if isinstance(manifest, Mapping) and manifest_hash(manifest) != evidence.run.manifest_sha256:
        stale.append(ARTIFACTS["resolved_manifest"].path)
    for portfolio in weights:
        for name, sha in portfolio.inputs.items():
            if name in ARTIFACTS and not ARTIFACTS[name].timed and _sha(evidence.data(name)) != sha:
                stale.append(ARTIFACTS[name].path)
    message = (
        f"changed since they were recorded: {sorted(set(stale))[:5]}" if stale else "no file was changed"
    )
    evidence.check(not stale, "ATOMIC_HASH", "ATOMIC_STALE_INPUT", message)


def _sha(data: bytes | None) -> str | None:
    return None if data is None else sha256_hex(data)
