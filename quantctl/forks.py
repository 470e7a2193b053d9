"""From a command to the pinned input of a fork: the source's own request, with the keys that it changes."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from quantctl import installation, requests
from quantctl.contracts.errors import ConfigError
from quantctl.contracts.ids import check_run_id, trace_id_of
from quantctl.contracts.records.fork import ForkedFrom
from quantctl.contracts.records.run import RunRequest
from quantctl.contracts.settings import Settings
from quantctl.contracts.settings.paths import PathsSettings
from quantctl.lake import ledger, state
from quantctl.lake.ledger import timestamp
from quantctl.settings import Overrides, validated
from quantctl.settings_sources import Entry, from_overrides
from quantctl.workflows import forking, rechecking, runs, versions
from quantctl.workflows.registry import build as build_pipeline
from quantctl.workflows.runtime import Places


def build(
    places: Places,
    run_id: str,
    from_stage: str,
    *,
    paths: PathsSettings,
    new_id: str | None = None,
    overrides: Overrides = (),
) -> RunRequest:
    """The request of a fork; nothing is written.

    Raises `RUN_NOT_FOUND`, `FORK_SOURCE_LIVE`, `FORK_DATAOPS`, `STAGE_UNKNOWN`, `RUN_VERSION_STAGES`,
    what is wrong with a setting, `FORK_STAGE_MISSING`, `ARTIFACT_CORRUPT` and `FORK_PARAMS_CHANGED`.
    """
    source = _source(places, run_id)
    index = build_pipeline(source.pipeline).index(from_stage)
    versions.check_adoptable(source)
    settings, named = _changed(source, paths, overrides)
    with state.reader(places.state_url) as connection:
        assert connection is not None
        records = list(ledger.records(connection, run_id))
    kept = forking.kept_stages(records, source.stages[:index])
    for stage in kept:
        for reference in stage.outputs:
            forking.verified(places, run_id, stage, reference)
    tree = settings.model_dump(mode="json")
    keys = forking.changed_keys(source, tree)
    changed = rechecking.first_changed(places, run_id, tree, keys, kept) if keys else None
    if changed is not None:
        raise forking.refuse_changed(source, changed[1], changed[0])
    moment = datetime.now(UTC)
    chosen = check_run_id(new_id or f"{source.profile}_{moment:%Y%m%d-%H%M%S}")
    forked = ForkedFrom(
        run_id=run_id, from_stage=from_stage, seq=records[-1]["seq"], head_hash=records[-1]["hash"],
        origins={stage.stage: stage.origin for stage in kept},
    )  # fmt: skip
    return source.model_copy(update={
        "run_id": chosen, "trace_id": trace_id_of(chosen), "created_at": timestamp(moment),
        "annualisation": requests.annualisation(settings), "settings": tree,
        "origins": source.origins | dict.fromkeys(named, "cli"),
        "code": installation.code_facts(), "env": installation.environment_facts(),
        "stages": [spec.id for spec in build_pipeline(source.pipeline).stages], "forked_from": forked,
        "replay": _replay(forked, chosen, tree, [key for key in named if key in keys]),
    })  # fmt: skip


def _source(places: Places, run_id: str) -> RunRequest:
    """The request of a run that may be forked."""
    known = runs.require_status(places, run_id)
    if known.state in ("QUEUED", "RUNNING"):
        raise ConfigError(
            "FORK_SOURCE_LIVE", f"run {run_id} is {known.state}; what it has is not settled yet",
            remedy=f"quantctl status {run_id} --follow; or quantctl cancel {run_id}",
        )  # fmt: skip
    source = runs.request_of(places, run_id)
    assert source is not None
    if source.pipeline.startswith("data."):
        raise ConfigError(
            "FORK_DATAOPS", f"run {run_id} of {source.pipeline} wrote the lake, which no fork can keep",
            remedy=f"start it again: quantctl data {source.pipeline.partition('.')[2]}",
        )  # fmt: skip
    return source


def _changed(source: RunRequest, paths: PathsSettings, overrides: Overrides) -> tuple[Settings, list[str]]:
    """The source's settings but for the keys of `overrides`, and those keys.

    Where things lie is taken from here, not from the source: `paths` is no decision of a run.
    """
    given = from_overrides(overrides)
    tree: dict[str, Any] = copy.deepcopy(source.settings) | {"paths": paths.model_dump(mode="json")}
    entries = [Entry((name,), value, "run", f"run {source.run_id}") for name, value in tree.items()]
    entries += [entry for entry in given.entries if entry.path[0] != "paths"]
    settings, refused = validated(entries)
    problems = [*given.problems, *refused]
    if settings is None or problems:
        raise problems[0]
    return settings, [".".join(entry.path) for entry in given.entries]


def _replay(forked: ForkedFrom, run_id: str, settings: Mapping[str, Any], keys: list[str]) -> list[str]:
    """The command that makes this fork again."""
    words = ["quantctl", "fork", forked.run_id, "--from-stage", forked.from_stage, "--run-id", run_id]
    for key in keys:
        words += ["--set", f"{key}={json.dumps(_at(settings, key))}"]
    return words


def _at(tree: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; null where the source has one and the fork none."""
    value: Any = tree
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
