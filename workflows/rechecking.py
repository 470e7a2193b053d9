"""Whether other settings would change what a stage came to: it is run again, aside, and compared.

A stage is handed whole sections of the settings, so that a changed key may or may not matter to it. Its
function decides: it is called on the kept files under the new settings and under the identity of the
run that computed it, and every record that would be booked is held against the one that was.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from quantctl.contracts.artifacts import LAKE_INPUTS, Artifact
from quantctl.contracts.canonical import canonical
from quantctl.contracts.records.run import RunRequest
from quantctl.contracts.stage import GateSpec, StageSpec
from quantctl.lake.files import link_verified
from quantctl.workflows import book, plain, runs
from quantctl.workflows.compute import compute
from quantctl.workflows.forking import KeptStage, verified
from quantctl.workflows.registry import gates_of, require_stage
from quantctl.workflows.runtime import Places

# What the slices of the pinned snapshot depend on.
LAKE_SECTIONS = frozenset({"backtest", "data", "discovery", "features", "sleeve", "universe"})
SIGN_SECTIONS = frozenset({"features", "sleeve"})


class _Posing(RunRequest):
    """A request with other settings that gives itself out for the one that it was made from."""

    pinned: dict[str, Any] = Field(default_factory=dict)

    def manifest(self) -> dict[str, Any]:
        return self.pinned


def first_changed(
    places: Places, run_id: str, settings: Mapping[str, Any], keys: Sequence[str], kept: Sequence[KeptStage]
) -> tuple[str, list[str]] | None:
    """The first kept stage that comes out differently under `settings`, and the keys that it may see.

    Null when every kept stage stays as it is. Nothing outside a temporary directory is written.
    """
    with tempfile.TemporaryDirectory() as folder:
        artifacts: dict[str, Artifact] = {}
        for stage in kept:
            seen = [key for key in keys if key.split(".", 1)[0] in sections(require_stage(stage.stage))]
            known = {
                reference["name"]: _borrow(places, run_id, stage, reference, Path(folder))
                for reference in stage.outputs
            }
            if seen and not _same(places, stage, settings, artifacts, Path(folder) / "again"):
                return stage.stage, seen
            artifacts |= known
    return None


def sections(spec: StageSpec) -> frozenset[str]:
    """Sections of the settings that a stage, its gates and its slices of the lake may see."""
    found = _sections(spec)
    for gate in gates_of(spec.id):
        found |= _sections(gate) | (SIGN_SECTIONS if gate.sign else frozenset())
    return found


def _sections(spec: StageSpec | GateSpec) -> frozenset[str]:
    own = frozenset(spec.params.model_fields) if spec.params is not None else frozenset()
    return own | (LAKE_SECTIONS if set(spec.inputs) & set(LAKE_INPUTS) else frozenset())


def _same(
    places: Places, stage: KeptStage, settings: Mapping[str, Any], artifacts: dict[str, Artifact], aside: Path
) -> bool:
    request = runs.request_of(places, stage.origin)
    if request is None:
        return False
    posing = _Posing.model_validate(
        request.model_dump() | {"settings": dict(settings), "pinned": request.manifest()}
    )
    session = plain.bare_session(posing, places, aside)
    session.artifacts = dict(artifacts)
    for artifact in artifacts.values():
        source = aside.parent / "kept" / artifact.path
        link_verified(source, session.directory.root / artifact.path, artifact.sha256)
    outcome = compute(session, require_stage(stage.stage), gates_of(stage.stage), stage.attempt)
    drafts = book.outcome_drafts(stage.stage, stage.attempt, outcome)
    booked = [r for r in stage.records if (r["type"], r["status"]) != ("stage", "intent")]
    return [_body(vars(draft)) for draft in drafts] == [_body(record) for record in booked]


def _body(record: Mapping[str, Any]) -> bytes:
    data = {key: value for key, value in record["data"].items() if key != "kept_from"}
    kept = {key: record[key] for key in ("type", "status", "step", "code")}
    return canonical(kept | {"outputs": list(record["outputs"]), "data": data})


def _borrow(
    places: Places, run_id: str, stage: KeptStage, reference: Mapping[str, Any], folder: Path
) -> Artifact:
    source = verified(places, run_id, stage, reference)
    size = link_verified(source, folder / "kept" / reference["path"], reference["sha256"])
    return Artifact(**reference, bytes=size, contract="")
