"""From a command to the pinned input of a run: settings, snapshot, as-of date, code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from quantctl import installation
from quantctl.contracts.errors import ConfigError, DataMissing
from quantctl.contracts.ids import check_run_id, exchange_of, trace_id_of
from quantctl.contracts.records.batch import PIPELINE as BATCH_PIPELINE
from quantctl.contracts.records.run import RunRequest, run_command
from quantctl.contracts.settings import Settings
from quantctl.contracts.stage import StageSpec
from quantctl.lake.ledger import timestamp
from quantctl.settings import Resolved
from quantctl.workflows.runtime import Places

BARS_PER_YEAR = {"24x7": 365}  # exchange calendars have 252 sessions


def _name(named_after: str, moment: datetime, dataops: bool) -> str:
    """Default id. Two runs of a profile begun in one second are one run; two data commands are two.

    A file brought again may lie at the same path with other content, and would be taken for the first.
    """
    thousandths = f"{moment.microsecond // 1000:03}" if dataops else ""
    return f"{named_after}_{moment:%Y%m%d-%H%M%S}{thousandths}"


def build(
    resolved: Resolved,
    pipeline: str,
    *,
    run_id: str | None = None,
    snapshot: str = "latest",
    as_of: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> RunRequest:
    """The request of a run.

    Raises `SNAPSHOT_TOO_OLD` (exit 3) when the snapshot ends before `as_of`, and what a stage of the
    pipeline raises on settings that it cannot run (exit 2).
    """
    from quantctl.workflows.registry import build as build_pipeline

    moment = datetime.now(UTC)
    profile = resolved.profile or "defaults"
    dataops = pipeline.startswith("data.")
    # TV_RUN_ID names the run of a flow, not the data commands before it.
    given = run_id or (None if dataops else resolved.run_id)
    chosen = check_run_id(given or _name(pipeline.replace(".", "_") if dataops else profile, moment, dataops))
    if pipeline == BATCH_PIPELINE:
        raise ConfigError(
            "PIPELINE_UNKNOWN", f"{pipeline} runs other runs, and is begun by a command of its own",
            where="--pipeline", remedy="quantctl batch --help",
        )  # fmt: skip
    places = installation.places(resolved.settings)
    stages = build_pipeline(pipeline).stages
    settings = resolved.public()
    for stage in stages:
        _refuse_unbuilt(stage, settings)
    pinned = {} if dataops else _pin(places, snapshot)
    return RunRequest(
        run_id=chosen,
        profile=profile,
        trace_id=trace_id_of(chosen),
        pipeline=pipeline,
        created_at=timestamp(moment),
        as_of=_as_of(as_of, pinned),
        annualisation=annualisation(resolved.settings),
        snapshot=pinned,
        settings=settings,
        origins=resolved.origins,
        extends_chain=resolved.extends_chain,
        profile_sha256=resolved.profile_sha256,
        code=installation.code_facts(),
        env=installation.environment_facts(),
        arguments=dict(arguments or {}),
        stages=[stage.id for stage in stages],
        replay=_replay(resolved, pipeline, chosen, pinned, _as_of(as_of, pinned)),
    )


def _refuse_unbuilt(stage: StageSpec, settings: Mapping[str, Any]) -> None:
    from quantctl.workflows.session import params_of

    if stage.refuses is not None and stage.params is not None:
        stage.refuses(params_of(stage.params, settings))


def _replay(
    resolved: Resolved, pipeline: str, run_id: str, pinned: Mapping[str, Any], as_of: str
) -> list[str]:
    """The command that makes this run again: what was set outside the profile is written out."""
    if pipeline.startswith("data."):
        return ["quantctl", "data", pipeline.partition(".")[2]]
    options = outside_profile(resolved)
    return run_command(options, resolved.profile or "", run_id, str(pinned["id"]), as_of, pipeline)


def outside_profile(resolved: Resolved) -> list[str]:
    """`--set` words of what was set outside the profile."""
    public, words = resolved.public(), []
    for key, origin in sorted(resolved.origins.items()):
        if origin in ("cli", "env", "dotenv") and not key.startswith("paths."):
            words += ["--set", f"{key}={json.dumps(_at(public, key))}"]
    return words


def _at(tree: Mapping[str, Any], key: str) -> Any:
    value: Any = tree
    for part in key.split("."):
        value = value[part]
    return value


def annualisation(settings: Settings) -> int:
    """Bars per year of the sleeve's calendar."""
    return BARS_PER_YEAR.get(calendar_of(settings), 252)


def calendar_of(settings: Settings) -> str:
    """Code of the sleeve's calendar: that of its first benchmark's exchange (`CALENDAR_UNKNOWN`, exit 2)."""
    benchmarks = settings.backtest.benchmark_symbols
    exchange = exchange_of(benchmarks[0]) if benchmarks else settings.universe.exchange_priority[0]
    code = settings.data.calendars.get(exchange)
    if code is None:
        raise ConfigError(
            "CALENDAR_UNKNOWN", f"exchange {exchange} has no calendar", where="data.calendars",
            remedy=f"--set data.calendars.{exchange}=CODE",
        )  # fmt: skip
    return code


def _pin(places: Places, snapshot: str) -> dict[str, Any]:
    from quantctl.lake.snapshot import Lake

    facts = Lake(places.lakehouse_dir).snapshot(snapshot).facts()
    tables = {name: table["logical_hash"] for name, table in sorted(facts["tables"].items())}
    kept = ("id", "manifest_sha256", "as_of", "feature_definition_hash")
    return {key: facts.get(key) for key in kept} | {"tables": tables}


def _as_of(wanted: str | None, pinned: Mapping[str, Any]) -> str:
    if not pinned:
        return wanted or ""
    newest = str(pinned["as_of"])
    if wanted is None:
        return newest
    try:
        day = date.fromisoformat(wanted)
    except ValueError:
        raise ConfigError("AS_OF_INVALID", f"{wanted!r} is not a date", remedy="--as-of YYYY-MM-DD") from None
    if day > date.fromisoformat(newest):
        raise DataMissing(
            "SNAPSHOT_TOO_OLD",
            f"snapshot {pinned['id']} ends at {newest}, before {wanted}",
            remedy="import or ingest newer bars, or choose an earlier --as-of",
        )
    return wanted
