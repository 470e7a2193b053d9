"""Scenarios killed at random places, with readers beside them; and what the harness must notice."""

from __future__ import annotations

import random

import pytest
from harness.controls import CONTROLS
from harness.market import Market
from harness.sampling import sampled
from harness.scenarios import SCENARIOS, Course
from harness.trial import Tally, Trial, at, at_random

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
KILLS = 10  # of one trial
SEED = 20260122
STATES = ("sqlite", "postgres")


@pytest.mark.parametrize(
    "trials", [1, pytest.param(5, marks=pytest.mark.exhaustive)], ids=["sample", "hundred_kills"]
)
@pytest.mark.parametrize(
    ("name", "kept_in"),
    sampled(
        [(name, state) for name in ("alpha", "fork") for state in STATES],
        [("alpha", "sqlite"), ("alpha", "postgres"), ("fork", "sqlite")],
    ),
    indirect=["kept_in"],
)
def test_random_kills_leave_the_same_run_and_disturb_no_reader(
    name: str, trials: int, kept_in: str, courses: dict[str, Course]
) -> None:
    dice, tally = random.Random(f"{SEED}/{name}"), Tally()
    reach = len(courses[name].undisturbed(kept_in).trace) // 4
    for _ in range(trials):
        Trial(courses[name], kept_in, tally, watched=True).run(at_random(dice, KILLS, reach))
    assert tally.failures == []
    assert tally.reader_errors == []
    assert tally.kills.total() >= trials
    assert all(tally.reads[reader] for reader in ("stock duckdb", "quantctl sql", "status --follow"))


@pytest.mark.parametrize(
    ("control", "kept_in"),
    sampled(
        [(control, state) for control in CONTROLS for state in STATES],
        [(control, "sqlite") for control in CONTROLS],
    ),
    indirect=["kept_in"],
)
def test_a_wrong_effect_is_noticed(control: str, kept_in: str, small_market: Market) -> None:
    """Positive control: undisturbed it passes, killed once it differs; else the harness proves nothing."""
    course = Course(SCENARIOS["alpha"], small_market, control)
    plan = CONTROLS[control]
    tally = Tally()
    found = Trial(course, kept_in, tally).run(at(str(plan["point"]), int(plan["nth"])))
    assert tally.kills.total() == 1
    assert found.differing_bytes or found.lost or found.doubled
