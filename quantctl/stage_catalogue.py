"""What is registered: the stages, their gates, their parameters and the contracts of their files."""

from __future__ import annotations

from typing import Any

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.workflows.registry import all_stages, gates_of, require_stage


def rows(tag: str | None = None) -> list[dict[str, Any]]:
    """Every registered stage, or those of a tag: id, tag, purpose, inputs, outputs, gates."""
    return [
        {
            "id": spec.id, "tag": spec.tag, "purpose": spec.purpose, "inputs": list(spec.inputs),
            "writes": list(spec.writes), "gates": [gate.id for gate in gates_of(spec.id)],
        }
        for spec in all_stages().values()
        if tag is None or spec.tag == tag
    ]  # fmt: skip


def schema(stage: str) -> dict[str, Any]:
    """JSON Schema of a stage's parameters, and the contracts of what it reads and writes.

    Raises `STAGE_UNKNOWN` (exit 2) with the nearest name.
    """
    spec = require_stage(stage)
    none = {"type": "object", "properties": {}}
    return {
        "id": spec.id,
        "purpose": spec.purpose,
        "params": spec.params.model_json_schema() if spec.params else none,
        "input": {name: _contract(name) for name in spec.inputs},
        "output": {name: _contract(name) for name in spec.writes},
    }


def _contract(name: str) -> dict[str, str]:
    if name in ARTIFACTS:
        row = ARTIFACTS[name]
        return {"path": row.path, "format": row.format, "contract": row.contract}
    return {"slice": name}
