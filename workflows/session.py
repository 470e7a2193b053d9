"""One life of a run in this process: what its stages have written, and how their arguments are found."""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from quantctl.contracts.artifacts import ARTIFACTS, LAKE_INPUTS, Artifact
from quantctl.contracts.errors import ContractError, DataMissing
from quantctl.contracts.ledger_chain import body_chain
from quantctl.contracts.records.run import RunRequest
from quantctl.contracts.stage import GateSpec, Loaded, StageParams, StageSpec
from quantctl.lake import ledger, state
from quantctl.lake.rundir import RunDirectory
from quantctl.workflows import lake_inputs, null_cache
from quantctl.workflows.runtime import Runtime

TIMED_INPUTS = ("resolved_manifest", "audit_ledger")


class Session:
    """The run's request, directory, artifacts so far and pinned snapshot."""

    def __init__(self, request: RunRequest, runtime: Runtime) -> None:
        self.request = request
        self.runtime = runtime
        self.directory = RunDirectory(runtime.places.artifacts_dir, request.run_id, request.profile)
        self.artifacts: dict[str, Artifact] = {}
        self._slices: dict[str, Any] = {}

    def stage_arguments(self, spec: StageSpec, attempt: int) -> dict[str, Any]:
        """Every argument of a stage by name; a missing artifact is `ISOLATION_INPUT_MISSING`."""
        arguments = {}
        for name in spec.inputs:
            if name in ARTIFACTS:
                if name in self.artifacts:
                    arguments[name] = self._read(name)
                elif name not in spec.optional:
                    raise self._missing(spec, name)
            else:
                arguments[name] = self._provided(name, spec)
        return arguments | self._common(spec, attempt)

    def _read(self, name: str) -> Any:
        """The value of an artifact of this run; one that changed is named with the stage that writes it."""
        try:
            return self.directory.read(name, self.artifacts[name].sha256)
        except ContractError as problem:
            raise self._with_writer(name, problem) from None

    def _with_writer(self, name: str, problem: ContractError) -> ContractError:
        from quantctl.workflows.registry import build

        retry = f"quantctl retry {self.request.run_id}"
        pipeline = build(self.request.pipeline)
        for spec in pipeline.stages:
            if name in (*spec.writes, *(gate.writes for gate in pipeline.gates[spec.id])):
                problem.remedy = (
                    f"restore the file, then {retry}; or make it anew: {retry} --from-stage {spec.id}"
                )
        return problem

    def gate_arguments(self, gate: GateSpec, attempt: int) -> dict[str, Any]:
        """Every argument of a gate; artifacts arrive as `Loaded`, so that it judges bad ones too."""
        arguments: dict[str, Any] = {}
        for name in gate.inputs:
            if name in ARTIFACTS:
                arguments[name] = self._loaded(name)
            else:
                arguments[name] = self._provided(name, gate)
        return arguments | self._common(gate, attempt)

    def _loaded(self, name: str) -> Loaded[Any]:
        """An artifact for a gate; a file that no record names is missing, whatever lies there.

        A recorded one whose file is gone or changed is nothing to judge: `ARTIFACT_CORRUPT` (exit 3).
        """
        known = self.artifacts.get(name)
        if known is None and name not in TIMED_INPUTS:
            return Loaded(
                name, self.directory.relative(name), None, None, "missing", "not written by this run"
            )
        loaded = self.directory.load(name, known.sha256 if known else None)
        if known is not None and (loaded.problem == "missing" or loaded.sha256 != known.sha256):
            raise self._with_writer(name, self.directory.corrupt(name, loaded.detail))
        return loaded

    def input_hashes(self, names: typing.Iterable[str]) -> dict[str, str | None]:
        """Path -> sha256 of artifacts; files that carry time are named by their logical hash."""
        table: dict[str, str | None] = {}
        for name in names:
            if name in ARTIFACTS:
                table[self.directory.relative(name)] = self.hash_of(name)
            elif name in LAKE_INPUTS:
                table[f"snapshot:{name}"] = self.request.snapshot.get("manifest_sha256")
        return table

    def hash_of(self, name: str) -> str | None:
        """sha256 by which everything refers to an artifact, or null where it is absent."""
        if name == "resolved_manifest":
            return self.request.manifest_sha256
        if name == "audit_ledger":
            return str(self.body_chain()["body_chain"])
        known = self.artifacts.get(name)
        return known.sha256 if known else None

    def references(self, names: typing.Iterable[str]) -> list[dict[str, Any]]:
        """Ledger references of the artifacts among `names` that exist."""
        found = [self.artifacts[name] for name in names if name in self.artifacts]
        manifest = {
            "name": "resolved_manifest",
            "path": self.directory.relative("resolved_manifest"),
            "sha256": self.hash_of("resolved_manifest"),
            "rows": None,
        }
        timed = [manifest] if "resolved_manifest" in names else []
        return timed + [ledger.reference(artifact) for artifact in found if not _timed(artifact.name)]

    def records(self) -> list[dict[str, Any]]:
        """Ledger records before the stage that now runs: its intent, and a reopening, are left out."""
        with state.reader(self.runtime.places.state_url) as connection:
            found = list(ledger.records(connection, self.request.run_id)) if connection else []
        while found and (found[-1]["status"] == "intent" or found[-1]["code"] == "REOPENED"):
            found.pop()
        return found

    def body_chain(self) -> dict[str, Any]:
        """How the ledger so far is referred to: number of records and the hash of their bodies."""
        records = self.records()
        return {"records": len(records), "body_chain": body_chain(records)}

    def _common(self, spec: StageSpec | GateSpec, attempt: int) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if spec.params is not None:
            extra["params"] = params_of(spec.params, self.request.settings)
        if spec.takes_run:
            extra["run"] = self.request.facts(attempt)
        return extra

    def _provided(self, name: str, spec: StageSpec | GateSpec) -> Any:
        if name in LAKE_INPUTS:
            if name not in self._slices:
                self._slices[name] = self._pinned.read(name)
            return self._slices[name]
        if name == "lake":
            return lake_inputs.writer(self.runtime.places)
        if name == "now":
            return datetime.fromisoformat(self.request.created_at.replace("Z", "+00:00"))
        if name == "request":
            model = typing.get_type_hints(spec.function)["request"]
            # A cycle of several stages keeps the arguments of each under its id.
            return model.model_validate(self.request.arguments.get(spec.id, self.request.arguments))
        return self._derived(name)

    @functools.cached_property
    def _pinned(self) -> lake_inputs.Pinned:
        return lake_inputs.Pinned(self.request, self.runtime.places)

    def _derived(self, name: str) -> Any:
        if name == "null_tables":
            return null_cache.tables(self.runtime.places.cache)
        if name == "input_hashes":
            return {n: self.hash_of(n) for n in ("resolved_manifest", *self.artifacts)}
        if name == "ledger_records":
            return self.records()
        if name == "ledger_projection":
            return self.directory.content(self.directory.relative("audit_ledger"))
        return self.directory.evidence(self.artifacts.values())

    def _missing(self, spec: StageSpec, name: str) -> DataMissing:
        return DataMissing(
            "ISOLATION_INPUT_MISSING",
            f"stage {spec.id} needs {name}, which this run has not written",
            where=self.directory.relative(name),
            remedy=f"quantctl retry {self.request.run_id} from the stage that writes it",
        )


def params_of(model: type[StageParams], settings: Mapping[str, Any]) -> StageParams:
    """Stage parameters from the resolved settings: each field is a section of that name."""
    return model.model_validate({name: settings[name] for name in model.model_fields})


def _timed(name: str) -> bool:
    return ARTIFACTS[name].timed
