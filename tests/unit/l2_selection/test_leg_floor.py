"""A sleeve that must hold both directions climbs until each leg has its winners."""

from __future__ import annotations

from quantctl.steps.l2_selection.ladder import Field, Member, climb


def field(leg_floor: int | None, *, barred_longs: int = 0) -> Field:
    """17 shorts pass strictly; of 10 longs all have a soft veto, some a hard one."""
    shorts = [Member(f"S{i:02d}", str(i % 4), "SHORT") for i in range(17)]
    longs = [Member(f"L{i:02d}", str(i % 4), "LONG") for i in range(10)]
    soft = frozenset(member.atom for member in longs)
    members = [pair for both in zip(shorts, longs, strict=False) for pair in both] + shorts[10:]
    return Field(
        members=members, barred=frozenset(m.atom for m in longs[:barred_longs]), soft={1: soft, 2: soft},
        quota={str(i): 15 for i in range(4)}, floor=15, top_n=15, leg_floor=leg_floor,
    )  # fmt: skip


def legs(choice: Field) -> tuple[int, int, int]:
    last = climb(choice)[-1]
    longs = sum(atom.startswith("L") for atom in last.winners)
    return last.number, longs, len(last.winners) - longs


def test_without_a_leg_floor_the_first_rung_with_fifteen_decides() -> None:
    assert legs(field(None)) == (1, 0, 17)


def test_with_a_leg_floor_the_lacking_leg_is_filled_and_the_other_kept() -> None:
    assert legs(field(8)) == (4, 8, 17)


def test_a_hard_veto_is_never_relaxed_for_a_leg() -> None:
    number, longs, shorts = legs(field(8, barred_longs=7))
    assert (number, longs, shorts) == (4, 3, 17)


def test_a_leg_without_candidates_does_not_hold_the_ladder_up() -> None:
    assert legs(field(8, barred_longs=10)) == (1, 0, 17)


def test_the_winner_cap_keeps_each_legs_floor_before_it_keeps_the_best() -> None:
    shorts = [Member(f"S{i:02d}", "0", "SHORT") for i in range(20)]
    longs = [Member(f"L{i:02d}", "0", "LONG") for i in range(10)]
    whole = [member.atom for member in shorts + longs]  # every long ranks behind every short

    def kept(leg_floor: int | None, winners: list[str]) -> frozenset[str]:
        choice = Field(
            members=shorts + longs, barred=frozenset(), soft={}, quota={}, floor=15, top_n=15,
            leg_floor=leg_floor,
        )  # fmt: skip
        return choice.capped(winners, 25)

    assert kept(None, whole) == frozenset(whole[:25])
    assert kept(8, whole) == frozenset(whole[:17] + whole[20:28])
    assert kept(8, whole[:23]) == frozenset(whole[:23])
