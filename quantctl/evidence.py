"""Reading a run as a reviewer does: its files found, its log and its records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quantctl.contracts.artifacts import ARTIFACTS, path_of
from quantctl.contracts.errors import ConfigError, DataMissing
from quantctl.contracts.nearest import did_you_mean
from quantctl.lake import ledger, state
from quantctl.lake.rundir import require_run
from quantctl.workflows import runs
from quantctl.workflows.runtime import Places


def find_artifact(places: Places, run_id: str, name: str) -> tuple[str, Path]:
    """Name and place of an artifact by name or by path below the run directory."""
    root = require_run(places.artifacts_dir, run_id)
    if name in ARTIFACTS:
        found = runs.status(places, run_id)
        place = root / path_of(name, profile=found.profile if found else "", run_id=run_id)
    else:
        place = (root / name).resolve()
        if not place.is_relative_to(root.resolve()):
            raise ConfigError("URI_PATH_FORBIDDEN", f"{name!r} leaves the run directory", where=run_id)
    if place.is_file():
        return name, place
    remedy = f"quantctl show {run_id}"
    if name not in ARTIFACTS and place.parent == root.resolve():
        hint = did_you_mean(name, ARTIFACTS)
        raise ConfigError("ARTIFACT_UNKNOWN", f"no artifact {name!r}{hint}", where=run_id, remedy=remedy)
    raise DataMissing(
        "ISOLATION_INPUT_MISSING", f"run {run_id} has no {name!r}", where=str(place), remedy=remedy
    )


def log_lines(places: Places, run_id: str) -> list[dict[str, Any]]:
    """Every whole line of `logs/run.jsonl`; one that is being written, or was torn by a kill, is left out."""
    runs.require_status(places, run_id)
    path = places.run_root(run_id) / "logs" / "run.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [line for line in map(_parsed, lines) if line is not None]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def records(
    places: Places, run_id: str, *, kind: str | None = None, step: str | None = None, since: str | None = None
) -> list[dict[str, Any]]:
    """The records of a run in sequence, from the state database.

    kind, step, since : only those of a type, of a stage, from a UTC time on
    """
    given = {"type = ?": kind, "step = ?": step, "ts >= ?": since}
    only = {condition: value for condition, value in given.items() if value is not None}
    with state.reader(places.state_url) as connection:
        return list(ledger.records(connection, run_id, only=only)) if connection is not None else []
