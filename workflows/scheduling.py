"""Firing schedules: long-lived workers notice the times that pass, decide each and start its run.

A time becomes a row in one transaction with the mark up to which times were noticed, and its run id
follows from profile and time. So two workers, or one that is killed anywhere, never make two runs of it.
The engine's own scheduler is not used (docs/decisions/schedules.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from quantctl.contracts.errors import QuantError
from quantctl.contracts.records.run import RunRequest
from quantctl.lake import schedules
from quantctl.lake.fault_points import reach
from quantctl.lake.schedules import Schedule, Time
from quantctl.workflows import runs
from quantctl.workflows.faults import environment_apart
from quantctl.workflows.fire_times import passed

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from quantctl.workflows.worker import Worker

log = logging.getLogger("quantctl.schedule")
Build = Callable[[str, str, str], RunRequest]  # profile, pipeline, run id -> what starts the run
MOST = 100  # times of one gap that are noted one by one


def beat(schedule: Schedule, all_of_them: dict[str, Schedule]) -> tuple[str, str] | None:
    """Cron expression and zone by which a schedule fires: its own, else that of the one it follows."""
    seen: set[str] = set()
    while schedule.cron is None:
        if schedule.leader is None or schedule.profile in seen or schedule.leader not in all_of_them:
            return None
        seen.add(schedule.profile)
        schedule = all_of_them[schedule.leader]
    return schedule.cron, schedule.timezone


@dataclass(frozen=True)
class Verdict:
    """What becomes of a due time: `wait`, `start`, or `hold` with a reason."""

    action: str
    reason: str = ""


def judge(leader: Schedule | None, before: Time | None, fire: str, run_state: str | None) -> Verdict:
    """Whether a time that follows `leader` may start.

    before : the leader's time of the same moment; run_state : state of the run that it started
    """
    if leader is None:
        return Verdict("hold", "the schedule that it follows was removed")
    name = leader.profile
    if before is None:  # times of one moment become rows in one transaction, so it will not come later
        return Verdict("hold", f"{name} does not fire at {fire}")
    if before.state == "DUE":
        return Verdict("wait")
    if before.state != "STARTED":
        return Verdict("hold", f"{name} was {before.state} at {fire}: {before.reason or before.code or ''}")
    if run_state == "SUCCESS":
        return Verdict("start")
    if run_state in ("FAILED", "CANCELLED"):
        return Verdict("hold", f"run {before.run_id} is {run_state}; cure it, then start this one by its id")
    return Verdict("wait")


class Firing:
    """Notices and decides times for one worker; `tick` is called about once a second.

    build : makes the request of a run, from the profile as it stands when it fires
    clock : UTC now
    """

    def __init__(
        self, worker: Worker, build: Build, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._worker = worker
        self._build = build
        self._clock = clock

    def tick(self) -> None:
        """Notice what has passed, and decide what is due. Raises `STATE_UNREACHABLE`."""
        with environment_apart():
            if self._notice():
                self._settle()

    @property
    def _engine(self) -> Engine:
        assert self._worker.runtime is not None
        return self._worker.runtime.engine

    def _notice(self) -> bool:
        """Turn the times that have passed into rows; whether there is any schedule."""
        now = self._clock()
        with self._engine.connect() as sql:
            known = schedules.read(sql)
        new = [(schedule, found) for schedule in known.values() if (found := _passed(schedule, known, now))]
        if new:
            with self._engine.begin() as sql:
                schedules.alone(sql)
                for schedule, found in new:
                    if schedules.move(sql, schedule, schedules.stamp(found[-1])):
                        _note(sql, schedule, found, now)
            reach("schedule.noticed")
        return bool(known)

    def _settle(self) -> None:
        with self._engine.connect() as sql:
            waiting = schedules.due(sql)
        for time in waiting:
            self._decide(time)

    def _decide(self, time: Time) -> None:
        with self._engine.connect() as sql:
            known = schedules.read(sql)
            schedule = known.get(time.profile)
            if schedule is None or not schedule.enabled:
                return
            leader = known.get(schedule.leader) if schedule.leader else None
            before = schedules.time_of(sql, leader.profile, time.fire) if leader else None
        if schedule.leader is None:
            self._start(schedule, time)
            return
        run = runs.status(self._worker.places, before.run_id) if before else None
        verdict = judge(leader, before, time.fire, run.state if run else None)
        if verdict.action == "start":
            self._start(schedule, time)
        elif verdict.action == "hold":
            self._close(time, "HELD", "SCHEDULE_LEADER", verdict.reason)

    def _start(self, schedule: Schedule, time: Time) -> None:
        """Put the run of a time into the queue; one that is there already is left as it is."""
        if runs.status(self._worker.places, time.run_id) is None:
            try:
                request = self._build(schedule.profile, schedule.pipeline, time.run_id)
            except QuantError as problem:
                self._close(time, "REFUSED", problem.code, str(problem))
                return
            self._worker.enqueue(request.model_dump())
        reach("schedule.enqueued")
        self._close(time, "STARTED")

    def _close(self, time: Time, state: str, code: str | None = None, reason: str | None = None) -> None:
        with self._engine.begin() as sql:
            schedules.decide(sql, time, state, schedules.stamp(self._clock()), code, reason)
        told = f": {reason}" if reason else ""
        log.log(
            logging.INFO if state == "STARTED" else logging.WARNING,
            "schedule %s at %s: %s%s", time.profile, time.fire, state, told,
        )  # fmt: skip


def _passed(schedule: Schedule, known: dict[str, Schedule], now: datetime) -> list[datetime]:
    """Times of a schedule that passed since they were last noticed."""
    by = beat(schedule, known) if schedule.enabled else None
    return passed(*by, schedules.moment(schedule.noticed_until), now, MOST) if by is not None else []


def _note(sql: Connection, schedule: Schedule, found: list[datetime], now: datetime) -> None:
    """Rows of the times that passed: those on time are due; of late ones at most the newest."""
    late = timedelta(seconds=float(schedule.late_seconds))
    for fire in found:
        on_time = now - fire <= late
        caught_up = schedule.misfire == "one" and fire == found[-1]
        missed = None if on_time or caught_up else f"noticed {int((now - fire).total_seconds())} s later"
        schedules.add(sql, Time(
            schedule.profile, schedules.stamp(fire), schedules.run_id_of(schedule.profile, fire),
            "MISSED" if missed else "DUE", "SCHEDULE_MISSED" if missed else None, missed,
            schedules.stamp(now) if missed else None,
        ))  # fmt: skip
