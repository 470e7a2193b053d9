"""What the ladder may never do, over arbitrary pools."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantctl.steps.l2_selection.ladder import (
    Field,
    Member,
    climb,
    evaluate,
    recruits_per_leg,
    scarcity_level,
)

FLOOR = 15


@st.composite
def fields(draw: st.DrawFn) -> Field:
    size = draw(st.integers(0, 60))
    k = draw(st.integers(1, 8))
    cells = draw(
        st.lists(
            st.tuples(st.integers(1, k), st.sampled_from(["LONG", "SHORT"]), st.integers(0, 3)),
            min_size=size, max_size=size,
        )
    )  # fmt: skip
    members = [Member(f"A{i:02d}", str(c), leg) for i, (c, leg, _) in enumerate(cells)]
    fate = {member.atom: kind for member, (_, _, kind) in zip(members, cells, strict=True)}
    relaxed = frozenset(a for a, kind in fate.items() if kind == 2)
    top_n = draw(st.integers(1, 20))
    return Field(
        members=members,
        barred=frozenset(a for a, kind in fate.items() if kind == 3),
        soft={1: relaxed | {a for a, kind in fate.items() if kind == 1}, 2: relaxed},
        quota={str(c): top_n for c in range(1, k + 1)},
        floor=FLOOR,
        top_n=top_n,
    )


@given(fields())
def test_no_rung_admits_a_barred_atom_or_loses_a_recruit_of_rung_two(choice: Field) -> None:
    rungs = {number: evaluate(choice, number).winners for number in (1, 2, 3, 4)}
    assert not any(set(winners) & choice.barred for winners in rungs.values())
    assert set(rungs[2]) <= set(rungs[3]) <= set(rungs[4])
    assert not set(rungs[1]) & choice.soft[1]
    assert not set(rungs[2]) & choice.soft[2]


@given(fields())
def test_the_first_rung_with_enough_winners_decides(choice: Field) -> None:
    rungs = climb(choice)
    assert [rung.number for rung in rungs] == list(range(1, len(rungs) + 1))
    assert all(len(rung.winners) < FLOOR for rung in rungs[:-1])
    assert len(rungs[-1].winners) >= FLOOR or rungs[-1].number == 4


@given(fields())
def test_rung_four_falls_short_only_where_nothing_is_left(choice: Field) -> None:
    last = evaluate(choice, 4)
    free = {member.atom for member in choice.members} - choice.barred
    if len(last.winners) < FLOOR:
        assert set(last.winners) == free


@given(fields())
def test_recruits_keep_to_the_quota_of_each_cluster_and_leg(choice: Field) -> None:
    seats = {m.atom: (m.cluster, m.direction) for m in choice.members}
    for number in (1, 2):
        taken = Counter(seats[atom] for atom in evaluate(choice, number).winners)
        assert all(count <= choice.quota[cluster] for (cluster, _), count in taken.items())


@given(fields())
def test_the_cluster_floor_adds_one_atom_to_each_unserved_cluster(choice: Field) -> None:
    cluster = {m.atom: m.cluster for m in choice.members}
    second, third = evaluate(choice, 2).winners, evaluate(choice, 3).winners
    served = {cluster[atom] for atom in second}
    added = Counter(cluster[atom] for atom in set(third) - set(second))
    open_to = {m.cluster for m in choice.members if m.atom not in choice.barred} - served
    assert added == dict.fromkeys(open_to, 1)
    assert all(third[atom].note == "cluster_floor" for atom in set(third) - set(second))


@given(fields())
def test_the_limit_per_cluster_holds_unless_it_is_waived(choice: Field) -> None:
    third, fourth = evaluate(choice, 3), evaluate(choice, 4)
    cluster = {m.atom: m.cluster for m in choice.members}
    limit = max(choice.top_n, ceil(FLOOR / len(choice.quota)))
    before = Counter(cluster[atom] for atom in third.winners)
    after = Counter(cluster[atom] for atom in fourth.winners)
    if not fourth.waived:
        assert all(after[c] <= max(limit, before[c]) for c in after)


@pytest.mark.parametrize(
    ("top_n", "rho", "expected"),
    [(3, 0.0, 3), (3, -0.4, 3), (3, 0.5, 2), (3, 0.51, 1), (3, 1.0, 1), (15, 0.3, 11), (1, 0.9, 1)],
)
def test_dynamic_sizing_rounds_half_up(top_n: int, rho: float, expected: int) -> None:
    assert recruits_per_leg(top_n, rho, dynamic=True) == expected
    assert recruits_per_leg(top_n, rho, dynamic=False) == top_n


def test_scarcity_has_three_names() -> None:
    assert [scarcity_level(n, 15) for n in (15, 14, 5, 4, 1, 0)] == [
        None, "SCARCE", "SCARCE", "ULTRA_SPARSE", "ULTRA_SPARSE", "EMPTY",
    ]  # fmt: skip
