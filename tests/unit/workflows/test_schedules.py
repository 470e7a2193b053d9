"""Schedules: which times count, what each of them starts, and that no time ever starts two runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quantctl.contracts.errors import ConfigError, DataMissing
from quantctl.lake import fault_points, schedules, state
from quantctl.lake.schedules import Schedule
from quantctl.sdk import QuantSDK
from quantctl.workflows import scheduling
from quantctl.workflows.fire_times import following, passed
from quantctl.workflows.runtime import Places
from quantctl.workflows.scheduling import Firing, beat

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DATA = Schedule(
    "nightly", "data.full", "0 2 * * *", None, "UTC", True, "one", 300.0, "a", "2026-03-01T12:00:00Z"
)
SLEEVE = replace(DATA, profile="sleeve", pipeline="alpha.full", cron=None, leader="nightly")


class Request:
    """Stands for a run's request."""

    def __init__(self, profile: str, pipeline: str, run_id: str) -> None:
        self.words = {"profile": profile, "pipeline": pipeline, "run_id": run_id}

    def model_dump(self) -> dict[str, Any]:
        return self.words


class Desk:
    """A state database with two schedules, a clock that tests turn, and what was queued."""

    def __init__(self, root: Path) -> None:
        self.places = Places(root, root, root, root, state.default_url(root))
        self.engine = state.open_engine(self.places.state_url)
        self.now = NOON
        self.queued: list[str] = []
        self.ended: dict[str, str] = {}

    def worker(self, build: scheduling.Build = Request) -> Firing:
        """One more worker over the same database."""
        runtime = SimpleNamespace(engine=self.engine)
        stand_in: Any = SimpleNamespace(runtime=runtime, places=self.places, enqueue=self._enqueue)
        return Firing(stand_in, build, lambda: self.now)

    def _enqueue(self, request: dict[str, Any]) -> None:
        self.queued.append(request["run_id"])

    def put(self, *found: Schedule) -> None:
        with self.engine.begin() as sql:
            for schedule in found:
                schedules.put(sql, schedule)

    def states(self) -> dict[str, str]:
        """Run id -> state of every time."""
        return {time.run_id: time.state for time in schedules.times(self.places.state_url)}

    def reason(self, run_id: str) -> str:
        (time,) = [t for t in schedules.times(self.places.state_url) if t.run_id == run_id]
        return f"{time.code} {time.reason}"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    found = Desk(tmp_path)

    def status(_places: Places, run_id: str) -> Any:
        known = found.ended.get(run_id) or ("QUEUED" if run_id in found.queued else None)
        return None if known is None else SimpleNamespace(state=known)

    monkeypatch.setattr(scheduling.runs, "status", status)
    yield found
    found.engine.dispose()
    fault_points.disarm()


def test_times_are_those_of_the_expression_in_its_zone_and_given_in_utc() -> None:
    found = passed("30 2 * * *", "UTC", NOON - timedelta(days=2), NOON, 10)
    assert [time.isoformat() for time in found] == ["2026-02-28T02:30:00+00:00", "2026-03-01T02:30:00+00:00"]
    assert following("30 2 * * *", "America/New_York", NOON) == datetime(2026, 3, 2, 7, 30, tzinfo=UTC)


def test_the_bounds_of_a_span_count_once() -> None:
    time = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
    assert passed("30 2 * * *", "UTC", time - timedelta(seconds=1), time, 5) == [time]
    assert passed("30 2 * * *", "UTC", time, time + timedelta(seconds=5), 5) == []


def test_a_leap_in_the_local_clock_skips_or_doubles_no_day() -> None:
    found = passed("0 12 * * *", "Europe/Berlin", datetime(2026, 3, 27, 12, tzinfo=UTC),
                   datetime(2026, 3, 30, 12, tzinfo=UTC), 9)  # fmt: skip
    assert [time.hour for time in found] == [11, 10, 10]


def test_the_id_of_a_run_follows_from_profile_and_time() -> None:
    assert schedules.run_id_of("nightly", datetime(2026, 3, 2, 2, 0, tzinfo=UTC)) == "nightly_20260302-020000"


def test_a_time_starts_its_run_once_however_many_workers_look(desk: Desk) -> None:
    desk.put(DATA)
    one, other = desk.worker(), desk.worker()
    one.tick()
    assert desk.queued == []
    desk.now = datetime(2026, 3, 2, 2, 0, 1, tzinfo=UTC)
    for firing in (one, other, one, desk.worker()):
        firing.tick()
    assert desk.queued == ["nightly_20260302-020000"]
    assert desk.states() == {"nightly_20260302-020000": "STARTED"}


@pytest.mark.parametrize("point", ["schedule.noticed", "schedule.enqueued"])
def test_a_worker_that_dies_between_starts_no_second_run_and_loses_none(desk: Desk, point: str) -> None:
    desk.put(DATA)
    desk.now = datetime(2026, 3, 2, 2, 0, 1, tzinfo=UTC)

    def die(name: str) -> None:
        if name == point:
            raise KeyboardInterrupt

    fault_points.arm(die)
    with pytest.raises(KeyboardInterrupt):
        desk.worker().tick()
    fault_points.disarm()
    desk.worker().tick()
    desk.worker().tick()
    assert desk.queued == ["nightly_20260302-020000"]


def test_a_run_that_starts_while_its_schedule_is_removed_is_noted_with_its_time(desk: Desk) -> None:
    desk.put(DATA)
    desk.now = datetime(2026, 3, 2, 2, 0, 1, tzinfo=UTC)

    def build(*words: str) -> Any:
        with desk.engine.begin() as sql:
            schedules.remove(sql, "nightly")
        return Request(*words)

    desk.worker(build).tick()
    assert desk.queued == ["nightly_20260302-020000"]
    assert desk.states() == {"nightly_20260302-020000": "STARTED"}


def test_a_clock_that_goes_back_fires_nothing_twice(desk: Desk) -> None:
    desk.put(DATA)
    firing = desk.worker()
    desk.now = datetime(2026, 3, 2, 2, 0, 1, tzinfo=UTC)
    firing.tick()
    desk.now -= timedelta(hours=3)
    firing.tick()
    desk.now += timedelta(hours=3)
    firing.tick()
    assert desk.queued == ["nightly_20260302-020000"]


def test_of_times_that_passed_unseen_the_newest_is_caught_up_and_the_others_are_missed(desk: Desk) -> None:
    desk.put(DATA)
    desk.now = NOON + timedelta(days=3)
    desk.worker().tick()
    assert desk.queued == ["nightly_20260304-020000"]
    assert sorted(desk.states().values()) == ["MISSED", "MISSED", "STARTED"]
    assert desk.reason("nightly_20260302-020000").startswith("SCHEDULE_MISSED noticed 208800 s later")


def test_without_catching_up_a_late_time_starts_nothing_and_the_next_one_does(desk: Desk) -> None:
    desk.put(replace(DATA, misfire="none"))
    desk.now = NOON + timedelta(days=1)
    firing = desk.worker()
    firing.tick()
    assert desk.states() == {"nightly_20260302-020000": "MISSED"}
    desk.now = datetime(2026, 3, 3, 2, 4, tzinfo=UTC)
    firing.tick()
    assert desk.queued == ["nightly_20260303-020000"]


def test_a_sleeve_waits_for_the_data_of_its_time_and_starts_after_its_success(desk: Desk) -> None:
    desk.put(DATA, SLEEVE)
    firing = desk.worker()
    desk.now = datetime(2026, 3, 2, 2, 0, 1, tzinfo=UTC)
    for run_state in ("QUEUED", "RUNNING", "INTERRUPTED"):
        firing.tick()
        assert desk.queued == ["nightly_20260302-020000"]
        desk.ended["nightly_20260302-020000"] = run_state
    desk.ended["nightly_20260302-020000"] = "SUCCESS"
    firing.tick()
    assert desk.queued == ["nightly_20260302-020000", "sleeve_20260302-020000"]


@pytest.mark.parametrize("end", ["FAILED", "CANCELLED"])
def test_a_sleeve_after_a_data_run_that_failed_does_not_start_and_says_why(desk: Desk, end: str) -> None:
    desk.put(DATA, SLEEVE)
    firing = desk.worker()
    desk.now = datetime(2026, 3, 2, 2, 0, 1, tzinfo=UTC)
    firing.tick()
    desk.ended["nightly_20260302-020000"] = end
    firing.tick()
    assert desk.queued == ["nightly_20260302-020000"]
    assert desk.states()["sleeve_20260302-020000"] == "HELD"
    told = desk.reason("sleeve_20260302-020000")
    assert told.startswith(f"SCHEDULE_LEADER run nightly_20260302-020000 is {end}")


def test_a_sleeve_whose_data_run_could_not_be_made_is_held_with_its_reason(desk: Desk) -> None:
    desk.put(DATA, SLEEVE)
    desk.now = datetime(2026, 3, 2, 2, 0, 1, tzinfo=UTC)

    def build(profile: str, pipeline: str, run_id: str) -> Any:
        if profile == "nightly":
            raise DataMissing("LAKE_MISSING", "there is no lake")
        return Request(profile, pipeline, run_id)

    desk.worker(build).tick()
    assert desk.queued == []
    assert desk.states() == {"nightly_20260302-020000": "REFUSED", "sleeve_20260302-020000": "HELD"}
    assert "there is no lake" in desk.reason("sleeve_20260302-020000")


def test_a_sleeve_with_times_of_its_own_is_held_where_its_leader_has_none(desk: Desk) -> None:
    desk.put(DATA, replace(SLEEVE, cron="0 2,3 * * *"))
    desk.now = datetime(2026, 3, 2, 3, 0, 1, tzinfo=UTC)
    desk.ended["nightly_20260302-020000"] = "SUCCESS"
    desk.worker().tick()
    assert desk.states()["sleeve_20260302-030000"] == "HELD"
    assert "nightly does not fire at 2026-03-02T03:00:00Z" in desk.reason("sleeve_20260302-030000")


def test_a_schedule_that_is_off_starts_nothing(desk: Desk) -> None:
    desk.put(replace(DATA, enabled=False))
    desk.now = NOON + timedelta(days=2)
    desk.worker().tick()
    assert desk.states() == {}


def test_a_follower_has_the_beat_of_whoever_leads_it_at_last() -> None:
    third = replace(SLEEVE, profile="meta", leader="sleeve")
    known = {s.profile: s for s in (DATA, SLEEVE, third)}
    assert beat(third, known) == ("0 2 * * *", "UTC")
    assert beat(third, {"meta": third}) is None


class House:
    """Profiles in a directory, and the SDK over them."""

    def __init__(self, root: Path) -> None:
        self.profiles = root / "profiles"
        self.profiles.mkdir()
        given = [f"paths.data_dir={root / 'data'}", f"paths.profiles_dir={self.profiles}"]
        self.sdk = QuantSDK(overrides=given, env={})

    def write(self, name: str, schedule: str | None, extends: str = "defaults") -> None:
        body = f"description: x\nextends: {extends}\n" + (f"schedule: {schedule}\n" if schedule else "")
        (self.profiles / f"{name}.yaml").write_text(body)

    def apply(self, *profiles: str, dry_run: bool = False) -> dict[str, str]:
        return {c.profile: c.change for c in self.sdk.apply_schedules(profiles, dry_run=dry_run)}

    def rows(self) -> dict[str, Schedule]:
        return schedules.applied(self.sdk.places.state_url)


@pytest.fixture
def house(tmp_path: Path) -> House:
    found = House(tmp_path)
    found.write("nightly", '{pipeline: data.full, cron: "0 2 * * *"}')
    found.write("sleeve", "{after: nightly}")
    return found


def test_applying_twice_changes_nothing(house: House) -> None:
    assert house.apply() == {"nightly": "added", "sleeve": "added"}
    rows = house.rows()
    assert house.apply() == {"nightly": "unchanged", "sleeve": "unchanged"}
    assert house.rows() == rows


def test_a_dry_run_says_what_would_change_and_makes_no_database(house: House) -> None:
    assert house.apply(dry_run=True) == {"nightly": "added", "sleeve": "added"}
    assert not (house.sdk.places.data_dir / "state").exists()


def test_what_changed_is_updated_and_what_no_profile_declares_is_removed(house: House) -> None:
    house.apply()
    house.write("nightly", '{pipeline: data.full, cron: "0 3 * * *"}')
    house.write("sleeve", None)
    assert house.apply() == {"nightly": "changed", "sleeve": "removed"}
    assert house.rows()["nightly"].cron == "0 3 * * *"
    (house.profiles / "nightly.yaml").unlink()
    assert house.apply() == {"nightly": "removed"}
    assert house.rows() == {}


def test_other_times_count_from_when_they_are_applied_also_for_followers(house: House) -> None:
    house.apply()
    engine = state.open_engine(house.sdk.places.state_url)
    with engine.begin() as sql:
        for schedule in schedules.read(sql).values():
            schedules.put(sql, replace(schedule, noticed_until="2026-01-01T00:00:00Z"))
    house.write("nightly", '{pipeline: data.full, cron: "0 2 * * *", misfire: none}')
    house.apply()
    assert {s.noticed_until for s in house.rows().values()} == {"2026-01-01T00:00:00Z"}
    house.write("nightly", '{pipeline: data.full, cron: "0 3 * * *"}')
    house.apply()
    assert "2026-01-01T00:00:00Z" not in {s.noticed_until for s in house.rows().values()}
    engine.dispose()


def test_a_schedule_is_not_inherited(house: House) -> None:
    house.write("other", None, extends="nightly")
    assert "other" not in house.apply()


@pytest.mark.parametrize(
    ("schedule", "code", "named"),
    [
        ("{after: nightli}", "SCHEDULE_UNKNOWN", "nightly"),
        ("{after: sleeve}", "SCHEDULE_CYCLE", "sleeve -> sleeve"),
        ("{enabled: true}", "SCHEDULE_MISSING", "sleeve"),
        ('{cron: "61 * * * *"}', "SCHEDULE_CRON", "61"),
        ('{cron: "@dayly"}', "SCHEDULE_CRON", "@daily"),
        ('{cron: "0 2 * * *", timezone: Europe/Berlyn}', "SCHEDULE_ZONE", "Europe/Berlin"),
        ("{after: nightly, pipeline: alpha.ful}", "CONFIG_RANGE", "alpha.full"),
        ("{after: nightly, misfir: none}", "SETTING_UNKNOWN", "misfire"),
    ],
)
def test_a_schedule_that_can_not_be_is_refused_and_nothing_is_applied(
    house: House, schedule: str, code: str, named: str
) -> None:
    house.write("sleeve", schedule)
    with pytest.raises(ConfigError) as refused:
        house.apply()
    assert refused.value.code == code
    assert named in refused.value.message
    assert refused.value.exit_code == 2
    assert house.rows() == {}


def test_a_profile_without_a_schedule_is_refused_when_it_is_named(house: House) -> None:
    house.write("plain", None)
    with pytest.raises(ConfigError, match="declares no schedule"):
        house.apply("plain")


def test_a_schedule_that_another_one_follows_is_not_removed_alone(house: House) -> None:
    house.apply()
    with pytest.raises(ConfigError, match="sleeve follows 'nightly'"):
        house.sdk.remove_schedules(["nightly"])
    house.sdk.remove_schedules(["nightly", "sleeve"])
    assert house.rows() == {}
