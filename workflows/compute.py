"""The compute operation of a stage: arguments in, function, artifacts out, gates."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from quantctl.contracts.artifacts import Artifact
from quantctl.contracts.canonical import canonical
from quantctl.contracts.errors import EnvironmentFault, InternalError, QuantError
from quantctl.contracts.stage import Finding, GateSpec, Judgement, Outcome, StageSpec
from quantctl.contracts.tracing import span
from quantctl.lake import ledger
from quantctl.lake.files import fault_of, require_space
from quantctl.workflows import damage, fence, verdicts
from quantctl.workflows.boundary import alpha_only
from quantctl.workflows.faults import environment_apart
from quantctl.workflows.session import Session
from quantctl.workflows.threads import one_blas_thread

MAX_CHECKPOINT_BYTES = 64 * 1024
RECORD_MARGIN = 2048  # what a record holds beside a finding's details
log = logging.getLogger("quantctl.runner")


def compute(session: Session, spec: StageSpec, gates: tuple[GateSpec, ...], attempt: int) -> dict[str, Any]:
    """Run a stage and its gates; returns the outcome that is checkpointed.

    Only `EnvironmentFault` leaves this function as an exception; the stage then stays open. Whatever
    else goes wrong is a failed outcome that names what was written before.
    """
    outcome: dict[str, Any] = {
        "status": "success",
        "error": None,
        "outputs": [],
        "gates": [],
        "findings": [],
        "metrics": {},
    }
    with environment_apart(session.request.run_id):
        session.directory.root.mkdir(parents=True, exist_ok=True)
        require_space(session.directory.root, session.runtime.min_free_mb * 2**20)
        try:
            with typed(f"stage {spec.id}"), one_blas_thread(), _boundary(session, spec):
                _call(session, spec, attempt, outcome)
                _judge_all(session, gates, outcome, attempt)
                _check_size(spec, outcome)
        except QuantError as problem:
            outcome |= {"status": "failed", "error": outcome["error"] or problem.to_dict()}
        if attempt > 1:
            outcome["findings"] += damage.noted(session, attempt)
    return outcome


@contextmanager
def typed(what: str) -> Iterator[None]:
    """Turn any exception that is neither ours nor the machine's into `INTERNAL`.

    Also those that derive from `BaseException` alone (a panic of native code does): the engine would
    leave the run pending for ever.
    """
    try:
        yield
    except (QuantError, EnvironmentFault, MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as problem:
        if isinstance(problem, OSError) and fault_of(problem, Path(what)) is not None:
            raise
        log.exception("%s broke", what)
        raise InternalError(
            "INTERNAL",
            f"{what} broke: {type(problem).__name__}: {problem}"[:2000],
            where=what,
            remedy="please report this; the log has the traceback",
        ) from problem


def _call(session: Session, spec: StageSpec, attempt: int, outcome: dict[str, Any]) -> None:
    """Call the function and write what it returns; `outcome` grows with every file."""
    returned: Outcome = spec.function(**session.stage_arguments(spec, attempt))
    unexpected = set(returned.outputs) - set(spec.writes)
    if unexpected:
        raise InternalError("STAGE_OUTPUT", f"stage returned undeclared {sorted(unexpected)}", where=spec.id)
    outcome["findings"] = [f.model_dump() for f in sorted(returned.findings, key=Finding.sort_key)]
    outcome["metrics"] = dict(returned.metrics)
    if returned.error is not None:
        outcome |= {"status": "failed", "error": returned.error.to_dict()}
    for name in spec.writes:
        if name in returned.outputs:
            _write(session, name, returned.outputs[name], outcome)


def _write(session: Session, name: str, value: Any, outcome: dict[str, Any]) -> Artifact:
    with fence.held(session.runtime, session.request.run_id):
        artifact = session.directory.write(name, value)
    session.artifacts[name] = artifact
    outcome["outputs"].append(artifact.model_dump())
    return artifact


def _boundary(session: Session, spec: StageSpec) -> AbstractContextManager[None]:
    """DataOps stages write the lake and reach the network; all others do neither."""
    return nullcontext() if spec.tag == "data" else alpha_only(spec.id, session.runtime.places.lakehouse_dir)


def _judge_all(session: Session, gates: tuple[GateSpec, ...], outcome: dict[str, Any], attempt: int) -> None:
    """Every gate judges, also after one has failed; the first error decides."""
    for gate in gates:
        if gate.sign and not sign_gate_on(session.request.settings):
            continue
        error = _judge(session, gate, outcome, attempt)
        if error is not None and outcome["error"] is None:
            outcome |= {"status": "failed", "error": error.to_dict()}


def _judge(session: Session, gate: GateSpec, outcome: dict[str, Any], attempt: int) -> QuantError | None:
    with span(f"gate {gate.id}", "gate") as told:
        inputs = session.input_hashes(gate.inputs)
        judgement = _judgement(session, gate, attempt)
        body = verdicts.verdict(gate, judgement, session.request.facts(attempt), inputs)
        if body["status"] == "FAIL":
            told["error.code"] = verdicts.code_of(body)
    written = _write(session, gate.writes, body, outcome)
    if gate.renders is not None:
        _write(session, gate.renders[0], gate.renders[1](body), outcome)
    outcome["gates"].append({
        "gate": gate.id, "status": body["status"], "errors": body["errors"], "warnings": body["warnings"],
        "code": verdicts.code_of(body), "verdict": ledger.reference(written),
    })  # fmt: skip
    return verdicts.failure(gate, judgement, body, written.path)


def _judgement(session: Session, gate: GateSpec, attempt: int) -> Judgement:
    """What a gate finds; one that breaks is a failed gate with a verdict, not a crash.

    Where what it is to judge is gone or changed, that fault keeps its own code and exit.
    """
    try:
        arguments = session.gate_arguments(gate, attempt)
    except QuantError as problem:
        return _unjudged(gate, problem.code, problem, error=problem)
    try:
        with typed(f"gate {gate.id}"):
            return gate.function(**arguments)
    except QuantError as problem:
        return _unjudged(gate, gate.own_code("PARSE"), problem)


def _unjudged(gate: GateSpec, code: str, problem: QuantError, error: QuantError | None = None) -> Judgement:
    message = f"gate {gate.id} could not judge: {problem.message}"
    found = Finding(level="ERROR", code=code, message=message)
    return Judgement([found], {"inputs": len(gate.inputs)}, error=error)


def _check_size(spec: StageSpec, outcome: dict[str, Any]) -> None:
    """A checkpoint holds references and short findings; each finding must fit a ledger record."""
    parts = [outcome["metrics"], *(finding["details"] for finding in outcome["findings"])]
    largest = max(len(canonical(part)) for part in parts)
    size = len(canonical(outcome))
    if size <= MAX_CHECKPOINT_BYTES and largest <= ledger.MAX_DATA_BYTES - RECORD_MARGIN:
        return
    outcome |= {"findings": [], "metrics": {}}
    raise InternalError(
        "OUTCOME_TOO_LARGE",
        f"outcome of {size} bytes (largest part {largest}): a long list of findings is an artifact",
        where=spec.id,
    )


def sign_gate_on(settings: dict[str, Any]) -> bool:
    """Whether the directional sign test runs: always, unless a LONG sleeve switched it off."""
    wanted = settings["features"]["feat_directional_sign_test_gate_atomic"]
    return bool(wanted) or settings["sleeve"]["direction"] != "LONG"
