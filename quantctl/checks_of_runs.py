"""Checks of `quantctl doctor` on what runs: workers, runs, schedules, notices. On either state database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from quantctl.check import Check
from quantctl.contracts.records.run import PROTOCOL
from quantctl.lake import leases, state
from quantctl.workflows import engine_rows, runs

if TYPE_CHECKING:
    from quantctl.lake.schedules import Schedule, Time
    from quantctl.workflows.runs import RunStatus
    from quantctl.workflows.runtime import Places

ALL = 10_000
NAMED = 5  # runs that a line names
WAITING = timedelta(seconds=60)  # what nobody takes up for so long waits in vain
SKEW = timedelta(seconds=5)


def workers(places: Places) -> Check:
    """Who executes runs: the holder of the worker lock, or on Postgres whoever keeps a lease.

    A worker that gives no sign of life and still has runs is a warning, unless another one will adopt them.
    """
    live = places.live_workers()
    told = f"{', '.join(sorted(live))} {'is' if len(live) == 1 else 'are'} alive" if live else "none alive"
    orphaned = sorted({
        executor.removeprefix(leases.PUT_DOWN)
        for executor in engine_rows.pending(places).values() if executor not in live
    })  # fmt: skip
    if orphaned and not leases.long_lived(live):
        left = ", ".join(orphaned[:NAMED])
        return Check("worker", "warn", f"{told}; gone, and its runs not taken up: {left}", "quantctl worker")
    return Check("worker", "ok", told)


def protocol(places: Places) -> Check:
    """No pending run belongs to another protocol of stages."""
    names = sorted(_of_other_protocols(places))
    if names:
        return Check(
            "protocol", "warn", f"runs of another protocol: {_some(names)}",
            _each(names, lambda run_id: f"quantctl resume {run_id} --adopt-version"),
        )  # fmt: skip
    return Check("protocol", "ok", f"{PROTOCOL}, none of another")


def interrupted(places: Places) -> Check:
    """No run was begun and is executed by nobody."""
    others = _of_other_protocols(places)
    found = [run for run in _on_their_own(places, "INTERRUPTED") if run.run_id not in others]
    if not found:
        return Check("interrupted runs", "ok", "none")
    told = [f"{run.run_id} at {run.stage or 'its start'}" for run in found]
    names = [run.run_id for run in found]
    return Check("interrupted runs", "warn", _some(told), _resume(names))


def _on_their_own(places: Places, state: str) -> list[RunStatus]:
    """Runs in a state but those that an open batch goes on with: to resume it is to resume its children."""
    unended = runs.statuses(places, limit=ALL, state="OPEN")
    ids = {run.run_id for run in unended}
    return [run for run in unended if run.state == state and run.parent not in ids]


def queued(places: Places) -> Check:
    """No run waits for a worker that is not there."""
    limit = (datetime.now(UTC) - WAITING).isoformat()
    found = [run for run in _on_their_own(places, "QUEUED") if run.created_at < limit]
    if not found or leases.long_lived(places.live_workers()):
        return Check("queued runs", "ok", f"{len(found)} wait" if found else "none waits in vain")
    names = [run.run_id for run in found]
    return Check(
        "queued runs", "warn", f"no worker for {_some(names)}", f"quantctl worker, or {_resume(names)}"
    )


def clock(places: Places) -> Check:
    """The clock is not behind the newest record of any ledger."""
    rows = state.rows(places.state_url, "SELECT run_id, head_ts FROM runs ORDER BY head_ts DESC LIMIT 1")
    now = datetime.now(UTC)
    if rows and datetime.fromisoformat(rows[0]["head_ts"]) > now + SKEW:
        newest = f"{rows[0]['head_ts']} of {rows[0]['run_id']}"
        told = f"{now:%Y-%m-%d %H:%M:%S} UTC, behind the newest record, {newest}"
        return Check("clock", "warn", told, "set the clock; records keep the later time meanwhile")
    return Check("clock", "ok", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def schedules(places: Places) -> Check:
    """Every schedule fires, and the last time of each started its run."""
    from quantctl.lake.schedules import applied, last_times

    known = applied(places.state_url)
    if not known:
        return Check("schedules", "ok", "none applied")
    last = last_times(places.state_url)
    problems = []
    for name, schedule in known.items():
        late = _late(schedule, known)
        if late is not None:
            problems.append((f"{name} missed {late}, no worker fired it", "quantctl worker"))
        elif name in last and last[name].state in ("HELD", "REFUSED", "MISSED"):
            problems.append((_told(last[name]), _start_by_hand(last[name])))
    if problems:
        details, remedies = zip(*problems, strict=True)
        return Check("schedules", "warn", _some(details), "; ".join(dict.fromkeys(remedies[:NAMED])))
    return Check("schedules", "ok", f"{len(known)} applied, none is late")


def _late(schedule: Schedule, known: dict[str, Schedule]) -> str | None:
    """The first time that nobody noticed within its `late_seconds`."""
    from quantctl.lake.schedules import moment, stamp
    from quantctl.workflows.fire_times import following
    from quantctl.workflows.scheduling import beat

    by = beat(schedule, known)
    if by is None or not schedule.enabled:
        return None
    first = following(*by, moment(schedule.noticed_until))
    overdue = datetime.now(UTC) - first > timedelta(seconds=float(schedule.late_seconds))
    return stamp(first) if overdue else None


def _told(time: Time) -> str:
    return f"{time.profile} at {time.fire} was {time.state}: {time.code} {time.reason}"


def _start_by_hand(time: Time) -> str:
    return f"quantctl schedule times {time.profile}, cure the cause, then start {time.run_id} by hand"


def notices(places: Places) -> Check:
    """Whoever is to be told of the end of a run has been told."""
    from quantctl.lake.notices import known, stamp

    limit = stamp(datetime.now(UTC) - WAITING)
    unsent = known(places.state_url, unsent=True)
    found = [one for one in unsent if one.tries or one.due < limit]
    if not found:
        return Check("notices", "ok", "none is left untold")
    told = [
        f"{one.run_id} by {one.channel}, {one.tries} tries: {one.problem or 'not tried'}" for one in found
    ]
    names = list(dict.fromkeys(one.run_id for one in found))
    return Check(
        "notices", "warn", _some(told), _each(names, lambda run_id: f"quantctl notify send {run_id}")
    )


def _of_other_protocols(places: Places) -> set[str]:
    query = (
        "SELECT workflow_uuid FROM workflow_status WHERE status IN ('PENDING', 'ENQUEUED')"
        f" AND application_version IS NOT NULL AND application_version <> '{PROTOCOL}'"
    )
    return {row[0] for row in state.rows(places.state_url, query)}


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _each(names: Sequence[str], command: Callable[[str], str]) -> str:
    return "; ".join(command(name) for name in names[:NAMED])


def _resume(names: Sequence[str]) -> str:
    return _each(names, lambda run_id: f"quantctl resume {run_id}")
