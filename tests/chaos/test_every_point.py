"""A scenario killed at every fault point that it reaches ends as if nobody had killed it."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.sampling import sampled
from harness.scenarios import SCENARIOS, Course
from harness.trial import Tally, Trial, at, each_once

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
JOBS = 2
# In every build; random kills take runs and forks there, `make test-kill` takes all, over both databases.
SAMPLE = [("candidates", "sqlite")]
CASES = sampled([(name, state) for name in SCENARIOS for state in ("sqlite", "postgres")], SAMPLE)
# Points of files are the same code over both databases; on Postgres those are killed where it takes part.
OF_THE_DATABASE = (
    "transaction.",
    "compute.",
    "life.",
    "engine.",
    "run.",
    "retry.",
    "fork.",
    "latest.",
    "lock.",
)


def occurrences(trace: list[str], state: str) -> list[tuple[str, int]]:
    """Each point with how often it was reached until then."""
    seen: Counter[str] = Counter()
    found = []
    for point in trace:
        seen[point] += 1
        if state == "sqlite" or point.startswith(OF_THE_DATABASE):
            found.append((point, seen[point]))
    return found


@pytest.mark.parametrize(("name", "kept_in"), CASES, indirect=["kept_in"])
def test_every_point_killed_in_successive_lives_leaves_the_same_run(
    name: str, kept_in: str, courses: dict[str, Course]
) -> None:
    """Each life dies at the first point at which none has died yet: every kind of kill, one by one."""
    tally = Tally()
    trial = Trial(courses[name], kept_in, tally, watched=True)
    trial.run(each_once(tally))
    wanted = set(courses[name].undisturbed(kept_in).trace)
    if kept_in == "postgres":  # a lease is no lock, and the reference was made on SQLite
        wanted = {point for point in wanted if not point.startswith("lock.")}
    for point in sorted(wanted - killed_at(tally)):  # what the kill before it made needless
        trial.run(at(point, 1))
    assert tally.failures == []
    assert tally.reader_errors == []
    assert killed_at(tally) >= wanted


def killed_at(tally: Tally) -> set[str]:
    return {point for _, _, _, point in tally.kills}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_occurrence_of_every_point_killed_alone_leaves_the_same_run(
    name: str, kept_in: str, courses: dict[str, Course]
) -> None:
    course, tally = courses[name], Tally()
    wanted = occurrences(course.undisturbed(kept_in).trace, kept_in)

    def one(occurrence: tuple[str, int]) -> None:
        Trial(course, kept_in, tally).run(at(*occurrence))

    with ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(one, wanted))
    assert tally.failures == []
    # A slow life projects more often: a late occurrence may be missing where the reference was slower.
    assert tally.kills.total() >= 0.95 * len(wanted)
    assert killed_at(tally) == {point for point, _ in wanted}
