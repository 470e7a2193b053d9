"""From the `batch` command to the pinned input of a parent run: profiles, dates, children."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from quantctl.contracts.errors import ConfigError, DataMissing
from quantctl.contracts.ids import trace_id_of
from quantctl.contracts.records.batch import PIPELINE, STAGE, BatchArguments, Child, Sleeve
from quantctl.contracts.records.run import RunRequest
from quantctl.contracts.settings import Settings
from quantctl.lake.ledger import timestamp
from quantctl.requests import calendar_of
from quantctl.workflows import children, runs
from quantctl.workflows.runtime import Places

if TYPE_CHECKING:
    from quantctl.lake.pinned import Snapshot
    from quantctl.sdk import QuantSDK

WINDOW = 8


@dataclass(frozen=True)
class Wanted:
    """What a batch is asked for: each profile at each date.

    as_of : dates by name; else every n-th session (`every`) of a profile's calendar from `first` to `last`
    window : how many children may have begun beyond those that ended
    """

    profiles: tuple[str, ...]
    as_of: tuple[str, ...] = ()
    first: str | None = None
    last: str | None = None
    every: int = 1
    pipeline: str = "alpha.full"
    run_id: str | None = None
    snapshot: str = "latest"
    keep_going: bool = False
    window: int = WINDOW


def build(sdk: QuantSDK, wanted: Wanted) -> RunRequest:
    """The request of a batch; nothing is written.

    Raises `BATCH_EMPTY`, `AS_OF_INVALID`, `RUN_ID_INVALID` for a child's id, `RUN_ID_CONFLICT` for a child
    that is there with other inputs, `CANDIDATES_EMPTY` with the command for every date that has none.
    """
    from quantctl.lake.snapshot import Lake

    profiles = tuple(dict.fromkeys(wanted.profiles))
    if not profiles or (wanted.as_of and (wanted.first or wanted.last)):
        raise ConfigError(
            "BATCH_EMPTY", "name a profile, and dates either one by one or as a range",
            remedy="quantctl batch --profile P --from DATE --to DATE --every 21",
        )  # fmt: skip
    snapshot = Lake(sdk.places.lakehouse_dir).snapshot(wanted.snapshot)
    templates = {name: _template(sdk, name, wanted, snapshot.id) for name in profiles}
    several = len(profiles) > 1
    planned = [
        Child(suffix=f"{name}-{day:%Y%m%d}" if several else f"{day:%Y%m%d}", profile=name,
              as_of=day.isoformat())
        for name, template in templates.items()
        for day in _dates(wanted, snapshot, template)
    ]  # fmt: skip
    _require_candidates(snapshot, templates, planned)
    request = _parent(wanted, templates, sorted(planned, key=lambda child: child.suffix))
    _refuse_strangers(sdk.places, request)
    return request


def _template(sdk: QuantSDK, profile: str, wanted: Wanted, snapshot: str) -> RunRequest:
    """What `run` would be asked for this profile; its id and date are those of no child."""
    request = sdk.request(wanted.pipeline, profile=profile, run_id="child", snapshot=snapshot)
    if request.pipeline.startswith(("data.", "batch.")):
        raise ConfigError(
            "PIPELINE_UNKNOWN", f"the children of a batch are Alpha runs, not {request.pipeline}",
            where="--pipeline", remedy="quantctl batch --pipeline alpha.full",
        )  # fmt: skip
    return request


def _parent(wanted: Wanted, templates: dict[str, RunRequest], planned: list[Child]) -> RunRequest:
    first = next(iter(templates.values()))
    name = "+".join(templates)
    stem = "batch" if len(templates) > 1 else f"{name}_batch"
    run_id = wanted.run_id or f"{stem}_{datetime.now(UTC):%Y%m%d-%H%M%S}"
    arguments = BatchArguments(
        pipeline=wanted.pipeline, stages=first.stages, keep_going=wanted.keep_going, window=wanted.window,
        sleeves={profile: _sleeve(template) for profile, template in templates.items()}, children=planned,
    )  # fmt: skip
    for child in planned:
        children.child_id(run_id, child.suffix)
    return first.model_copy(update={
        "run_id": run_id, "profile": name, "trace_id": trace_id_of(run_id), "pipeline": PIPELINE,
        "created_at": timestamp(datetime.now(UTC)), "as_of": max(child.as_of for child in planned),
        "arguments": arguments.model_dump(), "stages": [STAGE],
        "replay": _replay(wanted, templates, planned, run_id),
    })  # fmt: skip


def _sleeve(template: RunRequest) -> Sleeve:
    return Sleeve(
        settings={key: value for key, value in template.settings.items() if key != "paths"},
        origins={key: kind for key, kind in template.origins.items() if not key.startswith("paths.")},
        extends_chain=template.extends_chain,
        profile_sha256=template.profile_sha256,
        annualisation=template.annualisation,
        options=template.replay[1 : template.replay.index("run")],
    )


def _replay(
    wanted: Wanted, templates: dict[str, RunRequest], planned: list[Child], run_id: str
) -> list[str]:
    first = next(iter(templates.values()))
    words = [*first.replay[: first.replay.index("run")], "batch"]
    for profile in templates:
        words += ["--profile", profile]
    for day in sorted({child.as_of for child in planned}):
        words += ["--as-of", day]
    words += ["--run-id", run_id, "--snapshot", str(first.snapshot["id"])]
    if wanted.pipeline != "alpha.full":
        words += ["--pipeline", wanted.pipeline]
    words += ["--window", str(wanted.window)] if wanted.window != WINDOW else []
    return [*words, "--keep-going"] if wanted.keep_going else words


# dates


def _dates(wanted: Wanted, snapshot: Snapshot, template: RunRequest) -> list[date]:
    """The dates of a profile: sessions of its calendar that the snapshot holds."""
    code = calendar_of(Settings.model_validate(template.settings))
    known: list[date] = snapshot.sessions(code, snapshot.as_of)["date"].to_list()
    if wanted.as_of:
        chosen = sorted({_day(text) for text in wanted.as_of})
        strange = [day for day in chosen if day not in set(known)]
        if strange:
            raise ConfigError(
                "AS_OF_INVALID", f"{strange[0]} is no session of {code} in {snapshot.id}",
                where=template.profile, remedy=_nearest_session(strange[0], known),
            )  # fmt: skip
        return chosen
    first, last = _bound(wanted.first, known, 0), _bound(wanted.last, known, -1)
    chosen = [day for day in known if first <= day <= last][:: wanted.every]
    if not chosen:
        raise ConfigError(
            "BATCH_EMPTY", f"{snapshot.id} has no session of {code} from {first} to {last}",
            where=template.profile, remedy="quantctl lake snapshots shows where the newest one ends",
        )  # fmt: skip
    return chosen


def _bound(text: str | None, known: Sequence[date], place: int) -> date:
    if text is not None:
        return _day(text)
    return known[place] if known else date.min


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError("AS_OF_INVALID", f"{text!r} is not a date", remedy="--as-of YYYY-MM-DD") from None


def _nearest_session(day: date, known: Sequence[date]) -> str:
    before = [session for session in known if session < day]
    return f"--as-of {before[-1] if before else known[0]}" if known else "quantctl lake snapshots"


# what must be there before a batch begins


def _require_candidates(
    snapshot: Snapshot, templates: dict[str, RunRequest], planned: Sequence[Child]
) -> None:
    """Candidate rows of every child's scanners at its date, if its pipeline reads any."""
    from quantctl.workflows.registry import build as build_pipeline

    pipeline = next(iter(templates.values())).pipeline
    if not any("lake_candidates" in stage.inputs for stage in build_pipeline(pipeline).stages):
        return
    days = [date.fromisoformat(child.as_of) for child in planned]
    rows = snapshot.table("candidates", start=min(days), end=max(days), columns=["as_of", "scanner"])
    there = {(str(day), scanner) for day, scanner in rows.unique(maintain_order=True).iter_rows()}
    missing = [child for child in planned if not _scanned(templates[child.profile], child, there)]
    if missing:
        commands = [f"quantctl data candidates --profile {c.profile} --as-of {c.as_of}" for c in missing]
        raise DataMissing(
            "CANDIDATES_EMPTY", f"{len(missing)} of {len(planned)} children have no candidates",
            where=f"{missing[0].profile} at {missing[0].as_of}", remedy=" && ".join(commands),
            details={"commands": commands},
        )  # fmt: skip


def _scanned(template: RunRequest, child: Child, there: set[tuple[str, Any]]) -> bool:
    return any((child.as_of, name) in there for name in template.settings["discovery"]["scanners"])


def _refuse_strangers(places: Places, request: RunRequest) -> None:
    """Before a batch is known: a run that already bears a child's id must have its inputs."""
    if runs.request_of(places, request.run_id) is not None:
        return
    plan = children.plan_of(request)
    for child in plan.children:
        runs.attach(places, children.child_request(request, plan, child))
