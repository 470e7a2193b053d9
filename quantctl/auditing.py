"""The combined audit of a finished run: everything recomputed from its files, nothing of it changed.

Both sign tests, ledger verification and validation are judged again by the functions that judged them
in the run. A recomputed verdict that differs from the recorded one is `AUDIT_DIVERGENCE`. All parts run
even if an early one fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from quantctl.contracts.artifacts import path_of
from quantctl.contracts.canonical import parse_strict
from quantctl.contracts.errors import ConfigError, DataMissing, QuantError
from quantctl.contracts.records.run import RunRequest
from quantctl.contracts.stage import Finding, GateSpec, Judgement
from quantctl.lake import artifact_index, state
from quantctl.lake.rundir import RunDirectory, require_run
from quantctl.verification import verify_ledger
from quantctl.workflows import runs, verdicts
from quantctl.workflows.after import judged_elsewhere
from quantctl.workflows.session import params_of

if TYPE_CHECKING:
    from quantctl.sdk import QuantSDK

SIGN_PHASES = {
    "pre": ("sign_test_pre_opt", "sign_test_pre_opt_audit"),
    "post": ("sign_test", "sign_test_audit"),
}


def audit(sdk: QuantSDK, run_id: str, *, profile: str | None = None) -> dict[str, Any]:
    """Audit a run; returns `{ok, run_id, profile, parts[{part, status, errors, warnings, code}], path}`.

    Writes only `data/*_audit.json` and `reports/validation/atomic_audit_*`.
    Raises `RUN_NOT_FOUND` (exit 3) and `ATOMIC_PROFILE_MISMATCH` (exit 1).
    """
    case = _Case(sdk, run_id, profile)
    parts = [case.sign_test(phase) for phase in ("pre", "post") if case.signed]
    parts.append(case.ledger())
    parts.append(case.validation())
    return {
        "ok": all(part["errors"] == 0 for part in parts),
        "run_id": run_id,
        "profile": case.request.profile,
        "parts": parts,
        "path": str(case.directory.path("atomic_audit_md")),
    }


def sign_tests(sdk: QuantSDK, run_id: str, phase: str) -> dict[str, Any]:
    """Only the sign tests of a run, recomputed: `phase` is pre, post or both."""
    case = _Case(sdk, run_id, None)
    parts = [case.sign_test(each) for each in ("pre", "post") if phase in (each, "both")]
    return {"ok": all(part["errors"] == 0 for part in parts), "run_id": run_id, "parts": parts}


class _Case:
    """The files and records of one run, as an auditor holds them."""

    def __init__(self, sdk: QuantSDK, run_id: str, profile: str | None) -> None:
        require_run(sdk.places.artifacts_dir, run_id)
        request = runs.request_of(sdk.places, run_id)
        if request is None:
            raise DataMissing("RUN_NOT_FOUND", f"there is no run {run_id!r}", remedy="quantctl list")
        if profile is not None and profile != request.profile:
            raise ConfigError(
                "ATOMIC_PROFILE_MISMATCH", f"run {run_id} is of profile {request.profile}, not {profile}",
                remedy=f"quantctl audit atomic {run_id} --profile {request.profile}",
            )  # fmt: skip
        self.places = sdk.places
        self.request: RunRequest = request
        self.directory = RunDirectory(sdk.places.artifacts_dir, run_id, request.profile)
        self.records = list(sdk.ledger(run_id))
        with state.reader(sdk.places.state_url) as connection:
            found = artifact_index.artifacts(connection, run_id)
        self.artifacts = {artifact.name: artifact for artifact in found}
        self.facts = request.facts(attempt=1)

    @property
    def signed(self) -> bool:
        """Whether the sign gate is on for this run."""
        from quantctl.workflows.compute import sign_gate_on

        return sign_gate_on(self.request.settings)

    def sign_test(self, phase: str) -> dict[str, Any]:
        """A sign test, recomputed from the data and compared with the recorded verdict."""
        from quantctl.steps.l3_synthesis.sign_test import sign_test_post_opt, sign_test_pre_opt

        function: Any = sign_test_pre_opt if phase == "pre" else sign_test_post_opt
        spec: GateSpec = function.spec
        recorded, written = SIGN_PHASES[phase]
        loaded = {name: self.directory.load(name, self._sha(name)) for name in spec.inputs}
        judgement = self._judged(spec, lambda: function(**loaded, params=self._params(spec)))
        inputs = {self.directory.relative(name): self._sha(name) for name in spec.inputs}
        body = verdicts.verdict(spec, judgement, self.facts, inputs)
        return self._booked(spec, body, recorded, written, compare=tuple(body))

    def ledger(self) -> dict[str, Any]:
        """Chain, balance, projection and files; the run is closed, its trace and its index agree with it."""
        from quantctl.steps.reporting.validation import judge_ledger as judge
        from quantctl.steps.reporting.validation import ledger_gate

        spec: GateSpec = ledger_gate.spec  # type: ignore[attr-defined]
        projection = self.directory.content(self.directory.relative("audit_ledger"))
        judgement = self._judged(
            spec,
            lambda: judge(
                self.records,
                projection,
                self.directory.evidence(self.artifacts.values()),
                self._params(spec),
                terminal=True,
            ),
        )
        findings = [*judgement.findings, *self._trace(), *self._index(), *self._file_alone(judgement)]
        body = verdicts.verdict(spec, Judgement(findings, judgement.checked, judgement.extra), self.facts, {})
        return self._booked(spec, body, "ledger_verdict", "ledger_audit", compare=("status",))

    def validation(self) -> dict[str, Any]:
        """The validation of the run as a whole, as its files are now."""
        from quantctl.steps.reporting.validation import atomic_validation, judge_run, render

        spec: GateSpec = atomic_validation.spec  # type: ignore[attr-defined]
        ledger_errors = self._errors_of("ledger_audit")
        judgement = self._judged(
            spec,
            lambda: judge_run(
                self.directory.evidence(self.artifacts.values()),
                self.records,
                self._params(spec),
                self.facts,
                ledger_errors=ledger_errors,
                terminal=True,
            ),
        )
        body = verdicts.verdict(spec, judgement, self.facts, {})
        part = self._booked(spec, body, "atomic_validation", "atomic_audit", compare=("status",))
        self.directory.write("atomic_audit_md", render(body))
        return part

    def _booked(
        self, spec: GateSpec, body: dict[str, Any], recorded: str, written: str, *, compare: tuple[str, ...]
    ) -> dict[str, Any]:
        """Compare with the recorded verdict, write the recomputed one, and say how it went."""
        known = self._as_own(recorded, self._recorded(recorded))
        differs = [key for key in compare if known is not None and known.get(key) != body[key]]
        if known is None or differs:
            what = f"differs in {', '.join(differs)}" if differs else "was never recorded"
            finding = Finding(
                level="ERROR", code="AUDIT_DIVERGENCE", message=f"the verdict of {spec.id} {what}"
            )
            body["findings"].append(finding.model_dump() | {"run_id": self.request.run_id})
            body |= {"errors": body["errors"] + 1, "status": "FAIL"}
        self.directory.write(written, body)
        return {
            "part": spec.id,
            "status": body["status"],
            "errors": body["errors"],
            "warnings": body["warnings"],
            "code": verdicts.code_of(body),
            "verdict": self.directory.relative(written),
        }

    def _trace(self) -> list[Finding]:
        data = self.directory.content(self.directory.relative("forensic_trace"))
        if data is None:
            return [Finding(level="ERROR", code="TRACE_MISSING", message="forensic_trace.json is missing")]
        try:
            found = parse_strict(data)["trace_id"]
        except (QuantError, KeyError, TypeError):
            found = None
        if found == self.request.trace_id:
            return []
        message = f"the trace is of {found}, the ledger of {self.request.trace_id}"
        return [Finding(level="ERROR", code="ATOMIC_TRACE_ID", message=message)]

    def _file_alone(self, judgement: Judgement) -> list[Finding]:
        """What `ledger verify` finds in `audit.jsonl` and its head beyond the judgement."""
        known = {finding.code for finding in judgement.findings}
        found = verify_ledger(self.places, self.request.run_id)["findings"]
        return [Finding.model_validate(each) for each in found if each["code"] not in known]

    def _index(self) -> list[Finding]:
        from quantctl.steps.reporting.index import index_mismatches

        data = self.directory.content(self.directory.relative("index"))
        if data is None:
            return [Finding(level="ERROR", code="INDEX_MISMATCH", message="INDEX.md is missing")]
        rows = [artifact.model_dump() for artifact in self.artifacts.values()]
        return index_mismatches(data.decode(errors="replace"), self.request.manifest(), rows)

    def _judged(self, gate: GateSpec, judge: Callable[[], Judgement]) -> Judgement:
        try:
            return judge()
        except Exception as problem:  # noqa: BLE001  an audit reports what it cannot judge, and goes on
            message = f"{gate.id} could not be judged: {type(problem).__name__}: {problem}"
            found = Finding(level="ERROR", code=gate.own_code("PARSE"), message=message)
            return Judgement([found], {"inputs": 1})

    def _params(self, spec: GateSpec) -> Any:
        assert spec.params is not None
        return params_of(spec.params, self.request.settings)

    def _as_own(self, name: str, verdict: dict[str, Any] | None) -> dict[str, Any] | None:
        """A verdict that a fork keeps names the run that judged; it is compared under the fork's name.

        Only where the ledger says so: a verdict of any other run stays a difference.
        """
        gates = (record for record in self.records if record["type"] == "gate")
        path = path_of(name, profile=self.request.profile, run_id=self.request.run_id)
        judge = judged_elsewhere(gates).get(path)
        if verdict is None or judge is None or verdict.get("run_id") != judge:
            return verdict
        own = {"run_id": self.request.run_id, "trace_id": self.request.trace_id}
        findings = [finding | {"run_id": self.request.run_id} for finding in verdict["findings"]]
        return verdict | own | {"findings": findings}

    def _recorded(self, name: str) -> dict[str, Any] | None:
        path = path_of(name, profile=self.request.profile, run_id=self.request.run_id)
        data = self.directory.content(path)
        try:
            found: dict[str, Any] | None = None if data is None else parse_strict(data)
        except QuantError:
            return None
        return found

    def _errors_of(self, name: str) -> int | None:
        found = self._recorded(name)
        return None if found is None else int(found["errors"])

    def _sha(self, name: str) -> str | None:
        known = self.artifacts.get(name)
        return known.sha256 if known else None
