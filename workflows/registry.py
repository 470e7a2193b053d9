"""The registry: declarations of stages and gates, assembled into checked pipelines."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from quantctl.contracts.artifacts import ARTIFACTS, LAKE_INPUTS, RUN_INPUTS, TABLES
from quantctl.contracts.errors import ConfigError, InternalError
from quantctl.contracts.nearest import nearest
from quantctl.contracts.stage import GateSpec, StageSpec
from quantctl.workflows import pipelines
from quantctl.workflows.pipelines import PIPELINES, check_pipeline

# Arguments that only DataOps stages may take: the lake's writer, the command, the fixed time.
DATAOPS_INPUTS = ("lake", "request", "now")
FREE_INPUTS = ("input_hashes", *LAKE_INPUTS, *TABLES, *RUN_INPUTS, *DATAOPS_INPUTS)
WRITTEN_AT_START = ("resolved_manifest", "audit_ledger")


@dataclass(frozen=True)
class Pipeline:
    """A named list of stages with the gates that judge each of them."""

    name: str
    stages: tuple[StageSpec, ...]
    gates: dict[str, tuple[GateSpec, ...]]

    def index(self, stage_id: str) -> int:
        """Position of a stage; `STAGE_UNKNOWN` (exit 2) with the nearest name otherwise."""
        ids = [stage.id for stage in self.stages]
        if stage_id not in ids:
            raise unknown_stage(stage_id, ids)
        return ids.index(stage_id)


def unknown_stage(stage_id: str, known: list[str]) -> ConfigError:
    """The error for a misspelt stage id."""
    hint = nearest(stage_id, known)
    return ConfigError(
        "STAGE_UNKNOWN",
        f"no stage {stage_id!r}" + (f"; did you mean {hint!r}?" if hint else ""),
        remedy="quantctl stage list",
    )


@functools.cache
def build(name: str) -> Pipeline:
    """Import a pipeline's declarations and check that every input is written before it is read."""
    stages = tuple(_load(place) for place in PIPELINES[check_pipeline(name)])
    written = set(WRITTEN_AT_START)
    gates = {}
    for stage in stages:
        _check_known(stage.id, stage.inputs, written, stage.optional)
        written.update(stage.writes)
        gates[stage.id] = gates_of(stage.id)
        for gate in gates[stage.id]:
            _check_known(gate.id, gate.inputs, written | {gate.writes}, frozenset())
            written.add(gate.writes)
    return Pipeline(name, stages, gates)


@functools.cache
def all_stages() -> dict[str, StageSpec]:
    """Every registered stage by id."""
    places = {place: None for pipeline in PIPELINES.values() for place in pipeline}
    specs = [_load(place) for place in places]
    return {spec.id: spec for spec in sorted(specs, key=lambda spec: spec.id)}


def require_stage(stage_id: str) -> StageSpec:
    """A registered stage; `STAGE_UNKNOWN` (exit 2) with the nearest name otherwise."""
    stages = all_stages()
    if stage_id not in stages:
        raise unknown_stage(stage_id, list(stages))
    return stages[stage_id]


@functools.cache
def gates_of(stage_id: str) -> tuple[GateSpec, ...]:
    """The gates of a stage in the order in which they judge."""
    found = tuple(_load(place) for place in pipelines.GATES.get(stage_id, ()))
    misplaced = [gate.id for gate in found if gate.stage != stage_id]
    if misplaced or list(found) != sorted(found, key=lambda gate: gate.order):
        raise InternalError("PIPELINE_INVALID", f"gates {misplaced} do not fit here", where=stage_id)
    return found


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"quantctl.{module}"), name).spec


def _check_known(owner: str, inputs: tuple[str, ...], written: set[str], optional: frozenset[str]) -> None:
    for name in inputs:
        if name in FREE_INPUTS or name in written:
            continue
        if name in ARTIFACTS and name in optional:
            continue
        problem = "is written by no earlier stage" if name in ARTIFACTS else "is no artifact"
        raise InternalError("PIPELINE_INVALID", f"input {name!r} of {owner} {problem}", where=owner)
