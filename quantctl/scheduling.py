"""Schedules of profiles: declared in `schedule.*`, applied to the state database, listed, removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.ids import check_run_id
from quantctl.contracts.nearest import did_you_mean
from quantctl.lake import schedules
from quantctl.lake.schedules import Schedule
from quantctl.profile_files import Shelf
from quantctl.workflows import runs
from quantctl.workflows.fire_times import following
from quantctl.workflows.runtime import Places
from quantctl.workflows.scheduling import beat

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quantctl.contracts.records.run import RunRequest
    from quantctl.sdk import QuantSDK


@dataclass(frozen=True)
class Change:
    """What applying does to the schedule of one profile: `added`, `changed`, `removed` or `unchanged`."""

    profile: str
    change: str
    keys: tuple[str, ...] = ()


def apply(sdk: QuantSDK, profiles: Sequence[str] = (), *, dry_run: bool = False) -> list[Change]:
    """Make the state database's schedules those that profiles declare; a second time changes nothing.

    profiles : only these (empty: every profile, and a schedule that no profile declares is removed)

    Raises `SCHEDULE_MISSING` for a profile without one, `SCHEDULE_UNKNOWN` and `SCHEDULE_CYCLE` for what
    `schedule.after` names; nothing is changed then.
    """
    shelf = Shelf(Path(sdk.base.settings.paths.profiles_dir))
    known = schedules.applied(sdk.places.state_url)
    named = list(dict.fromkeys(profiles)) or sorted({*shelf.names(), *known})
    found = {name: _declared(sdk, shelf, name, known) for name in named}
    wanted = {name: schedule for name, schedule in found.items() if schedule is not None}
    if profiles:
        _refuse_without(wanted, profiles, known)
    _check({name: s for name, s in known.items() if name not in found} | wanted)
    changes = [_change(name, known.get(name), wanted.get(name)) for name in named]
    real = [change for change in changes if change is not None]
    if not dry_run:
        _write(sdk.places, real, wanted)
    return real


def remove(places: Places, profiles: Sequence[str]) -> list[Change]:
    """Remove schedules; `SCHEDULE_UNKNOWN` for a profile that has none, or that another one follows."""
    known = schedules.applied(places.state_url)
    for name in profiles:
        if name not in known:
            raise _unknown(f"profile {name!r} has no applied schedule", name, known)
    _check({name: schedule for name, schedule in known.items() if name not in profiles})
    changes = [Change(name, "removed") for name in dict.fromkeys(profiles)]
    _write(places, changes, {})
    return changes


def listed(places: Places) -> list[dict[str, Any]]:
    """Applied schedules, each with its next time, its last one and what came of it."""
    known, last = schedules.applied(places.state_url), schedules.last_times(places.state_url)
    now = datetime.now(UTC)
    rows = []
    for name, schedule in known.items():
        by = beat(schedule, known) if schedule.enabled else None
        row = {
            key: value for key, value in asdict(schedule).items() if key not in ("leader", "noticed_until")
        }
        row |= {"after": schedule.leader, "next": schedules.stamp(following(*by, now)) if by else None}
        rows.append(row | {"last": None if name not in last else told(places, last[name])})
    return rows


def times(places: Places, profile: str | None, limit: int) -> list[dict[str, Any]]:
    """Times that have fired, newest first (`SCHEDULE_UNKNOWN` for a profile that has neither)."""
    found = schedules.times(places.state_url, profile, limit)
    known = schedules.applied(places.state_url)
    if profile is not None and not found and profile not in known:
        raise _unknown(f"profile {profile!r} has no applied schedule", profile, known)
    return [told(places, time) for time in found]


def told(places: Places, time: schedules.Time) -> dict[str, Any]:
    """A time with the state of the run that it started."""
    run = runs.status(places, time.run_id)
    return asdict(time) | {"run_state": run.state if run else None}


def build(sources: QuantSDK, profile: str, pipeline: str, run_id: str) -> RunRequest:
    """The request of a scheduled run, from the profile as it is now.

    A data cycle takes all symbols, and every run the newest date of the lake.
    """
    from quantctl.data_cycle import candidates, cycle
    from quantctl.workflows.dataops.requests import ScopeRequest

    arguments = None
    if pipeline.startswith("data."):
        found = candidates(sources.resolve(profile).settings)
        arguments = cycle(ScopeRequest(all_symbols=True, yes=True), found)
    return sources.request(pipeline, profile=profile, run_id=run_id, arguments=arguments)


def _declared(sdk: QuantSDK, shelf: Shelf, name: str, known: Mapping[str, Schedule]) -> Schedule | None:
    """The schedule that a profile writes itself; one that it only inherits does not count."""
    if name in known and name not in shelf.names():
        return None
    written = shelf.profile(name)
    if "schedule" not in written.settings:
        return None
    settings = sdk.resolve(name).settings.schedule
    where = written.place(("schedule",))
    if settings.cron is None and settings.after is None:
        raise ConfigError(
            "SCHEDULE_MISSING", f"profile {name} says neither when nor after which other one it runs",
            where=where, remedy=f"write schedule.cron or schedule.after at {where}",
        )  # fmt: skip
    check_run_id(schedules.run_id_of(name, datetime.now(UTC)))
    return Schedule(
        profile=name, pipeline=settings.pipeline, cron=settings.cron, leader=settings.after,
        timezone=settings.timezone, enabled=settings.enabled, misfire=settings.misfire,
        late_seconds=float(settings.late_seconds),
    )  # fmt: skip


def _refuse_without(
    wanted: Mapping[str, Schedule], profiles: Iterable[str], known: Mapping[str, Schedule]
) -> None:
    for name in profiles:
        if name not in wanted and name not in known:
            raise ConfigError(
                "SCHEDULE_MISSING", f"profile {name} declares no schedule", where=name,
                remedy="write schedule.cron or schedule.after into the profile itself",
            )  # fmt: skip


def _check(found: Mapping[str, Schedule]) -> None:
    """Refuse schedules that follow nobody, or each other."""
    for name, schedule in found.items():
        chain = [name]
        while schedule.leader is not None:
            if schedule.leader not in found:
                raise _unknown(f"{schedule.profile} follows {schedule.leader!r}, which has no schedule",
                               schedule.leader, found)  # fmt: skip
            chain.append(schedule.leader)
            if chain.count(schedule.leader) > 1:
                raise ConfigError(
                    "SCHEDULE_CYCLE", f"schedules wait for each other: {' -> '.join(chain)}", where=name,
                    remedy="give one of them schedule.cron, and no schedule.after",
                )  # fmt: skip
            schedule = found[schedule.leader]


def _unknown(message: str, name: str, known: Iterable[str]) -> ConfigError:
    return ConfigError(
        "SCHEDULE_UNKNOWN", message + did_you_mean(name, known), where=name, remedy="quantctl schedule list"
    )


def _change(name: str, old: Schedule | None, new: Schedule | None) -> Change | None:
    if new is None:
        return None if old is None else Change(name, "removed")
    if old is None:
        return Change(name, "added")
    keys = tuple(
        "after" if key == "leader" else key
        for key, value in asdict(new).items()
        if key not in ("applied_at", "noticed_until") and value != getattr(old, key)
    )
    return Change(name, "changed" if keys else "unchanged", keys)


def _write(places: Places, changes: Sequence[Change], wanted: Mapping[str, Schedule]) -> None:
    """One transaction, and none where nothing changes. New times count from now on."""
    real = [change for change in changes if change.change != "unchanged"]
    if not real:
        return
    now = schedules.stamp(datetime.now(UTC))
    with places.writing() as engine, engine.begin() as sql:
        schedules.alone(sql)
        before = schedules.read(sql)
        for change in real:
            if change.change == "removed":
                schedules.remove(sql, change.profile)
                continue
            old = before.get(change.profile)
            since = old.noticed_until if old is not None else now
            schedules.put(sql, replace(wanted[change.profile], applied_at=now, noticed_until=since))
        _count_anew(sql, before, now)


def _count_anew(sql: Connection, before: dict[str, Schedule], now: str) -> None:
    """Where other times count than before, those until now count no more: also of who follows them."""
    after = schedules.read(sql)
    for name, schedule in after.items():
        old = before.get(name)
        if old is not None and (old.when, beat(old, before)) != (schedule.when, beat(schedule, after)):
            schedules.drop_due(sql, name)
            schedules.put(sql, replace(schedule, noticed_until=now))
