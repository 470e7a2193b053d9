"""The compute operation of a stage: arguments in, function, artifacts out, gates."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from quantctl.contracts.canonical import canonical
from quantctl.contracts.errors import InternalError, QuantError
from quantctl.contracts.stage import Finding, GateSpec, Judgement, Outcome, StageSpec
from quantctl.lake import ledger
from quantctl.lake.files import fault_of, require_space
from quantctl.workflows import verdicts
from quantctl.workflows.boundary import alpha_only
from quantctl.workflows.faults import environment_apart
from quantctl.workflows.session import Session
from quantctl.workflows.threads import one_blas_thread

MAX_CHECKPOINT_BYTES = 64 * 1024
log = logging.getLogger("quantctl.runner")


def compute(session: Session, spec: StageSpec, gates: tuple[GateSpec, ...], attempt: int) -> dict[str, Any]:
    """Run a stage and its gates; returns the outcome that is checkpointed.

    Only `EnvironmentFault` leaves this function as an exception; the stage then stays open.
    """
    with environment_apart(session.request.run_id):
        session.directory.root.mkdir(parents=True, exist_ok=True)
        require_space(session.directory.root, session.runtime.min_free_mb * 2**20)
        try:
            outcome = _call(session, spec, attempt)
            return _checked_size(spec, _judged(session, gates, outcome, attempt))
        except QuantError as problem:
            return _failed(problem)


def _call(session: Session, spec: StageSpec, attempt: int) -> dict[str, Any]:
    arguments = session.stage_arguments(spec, attempt)
    with one_blas_thread(), _boundary(session, spec):
        outcome = _guarded(spec, arguments)
    unexpected = set(outcome.outputs) - set(spec.writes)
    if unexpected:
        raise InternalError("STAGE_OUTPUT", f"stage returned undeclared {sorted(unexpected)}", where=spec.id)
    outputs = [
        session.directory.write(name, outcome.outputs[name])
        for name in spec.writes
        if name in outcome.outputs
    ]
    session.artifacts.update({artifact.name: artifact for artifact in outputs})
    return {
        "status": "failed" if outcome.error else "success",
        "error": outcome.error.to_dict() if outcome.error else None,
        "outputs": [artifact.model_dump() for artifact in outputs],
        "gates": [],
        "findings": [f.model_dump() for f in sorted(outcome.findings, key=Finding.sort_key)],
        "metrics": dict(outcome.metrics),
    }


def _boundary(session: Session, spec: StageSpec) -> AbstractContextManager[None]:
    """DataOps stages write the lake and reach the network; all others do neither."""
    return nullcontext() if spec.tag == "data" else alpha_only(spec.id, session.runtime.places.lakehouse_dir)


def _guarded(spec: StageSpec, arguments: dict[str, Any]) -> Outcome:
    try:
        return spec.function(**arguments)
    except (QuantError, MemoryError):
        raise
    except Exception as problem:
        if isinstance(problem, OSError) and fault_of(problem, Path(spec.id)) is not None:
            raise
        log.exception("stage %s broke", spec.id)
        raise InternalError(
            "INTERNAL",
            f"stage {spec.id} broke: {type(problem).__name__}: {problem}",
            where=spec.id,
            remedy="please report this; the log has the traceback",
        ) from problem


def _judged(
    session: Session, gates: tuple[GateSpec, ...], outcome: dict[str, Any], attempt: int
) -> dict[str, Any]:
    for gate in gates:
        if gate.sign and not sign_gate_on(session.request.settings):
            continue
        error = _judge(session, gate, outcome, attempt)
        if error is not None and outcome["error"] is None:
            outcome |= {"status": "failed", "error": error.to_dict()}
    return outcome


def _judge(session: Session, gate: GateSpec, outcome: dict[str, Any], attempt: int) -> QuantError | None:
    arguments = session.gate_arguments(gate, attempt)
    inputs = session.input_hashes(gate.inputs)
    try:
        judgement = gate.function(**arguments)
    except Exception as problem:  # a gate that breaks is a failed gate with a verdict, not a crash
        log.exception("gate %s broke", gate.id)
        judgement = _broken(gate, problem)
    body = verdicts.verdict(gate, judgement, session.request.facts(attempt), inputs)
    written = [session.directory.write(gate.writes, body)]
    if gate.renders is not None:
        written.append(session.directory.write(gate.renders[0], gate.renders[1](body)))
    session.artifacts.update({artifact.name: artifact for artifact in written})
    outcome["outputs"] += [artifact.model_dump() for artifact in written]
    outcome["gates"].append({
        "gate": gate.id, "status": body["status"], "errors": body["errors"], "warnings": body["warnings"],
        "code": verdicts.code_of(body), "verdict": ledger.reference(written[0]),
    })  # fmt: skip
    return verdicts.failure(gate, judgement, body, written[0].path)


def _broken(gate: GateSpec, problem: Exception) -> Judgement:
    code = f"{gate.id.replace('.', '_').upper()}_PARSE"
    message = f"gate {gate.id} could not judge: {type(problem).__name__}: {problem}"
    return Judgement([Finding(level="ERROR", code=code, message=message)], {"inputs": len(gate.inputs)})


def _failed(problem: QuantError) -> dict[str, Any]:
    return {
        "status": "failed",
        "error": problem.to_dict(),
        "outputs": [],
        "gates": [],
        "findings": [],
        "metrics": {},
    }


def _checked_size(spec: StageSpec, outcome: dict[str, Any]) -> dict[str, Any]:
    size = len(canonical(outcome))
    if size <= MAX_CHECKPOINT_BYTES:
        return outcome
    problem = InternalError(
        "OUTCOME_TOO_LARGE",
        f"outcome of {size} bytes exceeds {MAX_CHECKPOINT_BYTES}: a long list of findings is an artifact",
        where=spec.id,
    )
    return outcome | {"status": "failed", "error": problem.to_dict(), "findings": [], "metrics": {}}


def sign_gate_on(settings: dict[str, Any]) -> bool:
    """Whether the directional sign test runs: always, unless a LONG sleeve switched it off."""
    wanted = settings["features"]["feat_directional_sign_test_gate_atomic"]
    return bool(wanted) or settings["sleeve"]["direction"] != "LONG"
