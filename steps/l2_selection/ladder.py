"""The ladder of threshold relaxation: four rungs, of which the first with enough winners decides.

    1 strict           no veto of any class, recruited per cluster and leg
    2 spectral         the same with relaxed entropy and efficiency
    3 cluster floor    rung 2, plus the best atom of each cluster without a winner, soft vetoes ignored
    4 alpha fallback   rung 3, plus the best remaining atoms until the floor

A sleeve that must hold both directions may set a floor for each leg as well (`htr.leg_floor`): without
it a market in which one leg passes the strict rung alone would leave the other empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal, NamedTuple

Note = Literal["cluster_floor", "alpha_fallback"]


class Member(NamedTuple):
    """A candidate on the ladder: its cluster and leg."""

    atom: str
    cluster: str
    direction: str


class Admission(NamedTuple):
    """How a winner came in."""

    rung: int
    note: Note | None


@dataclass(frozen=True)
class Field:
    """What the rungs choose from.

    members : best first
    barred : atoms with a HARD or STRATEGY veto: no rung admits them
    soft : rung (1 strict, 2 relaxed) -> atoms with a soft veto there
    quota : cluster -> recruits per leg
    floor, top_n : winners at which the ladder stops; recruits per cluster and leg before sizing
    leg_floor : winners wanted in each leg as well, as far as it has candidates (null: no such floor)
    """

    members: Sequence[Member]
    barred: frozenset[str]
    soft: Mapping[int, frozenset[str]]
    quota: Mapping[str, int]
    floor: int
    top_n: int
    leg_floor: int | None = None

    def lacking(self, winners: Collection[str]) -> dict[str, int]:
        """Leg -> winners that it still lacks; only where a leg has a floor of its own."""
        if self.leg_floor is None:
            return {}
        have = Counter(member.direction for member in self.members if member.atom in winners)
        could = Counter(member.direction for member in self.members if member.atom not in self.barred)
        wanted = {leg: min(self.leg_floor, count) - have[leg] for leg, count in could.items()}
        return {leg: count for leg, count in wanted.items() if count > 0}

    def reached(self, winners: Collection[str]) -> bool:
        """Whether the ladder may stop."""
        return len(winners) >= self.floor and not self.lacking(winners)

    def capped(self, winners: Collection[str], most: int) -> frozenset[str]:
        """The best `most` winners; a leg with a floor of its own keeps its best up to that floor first."""
        ordered = [member for member in self.members if member.atom in winners]
        seated: Counter[str] = Counter()
        first: list[str] = []
        then: list[str] = []
        for member in ordered:
            reserved = self.leg_floor is not None and seated[member.direction] < self.leg_floor
            seated[member.direction] += 1
            (first if reserved else then).append(member.atom)
        return frozenset((first + then)[:most])


@dataclass(frozen=True)
class Rung:
    """Winners of one rung by atom, and whether the cluster limit of rung 4 was waived."""

    number: int
    winners: dict[str, Admission] = field(default_factory=dict)
    waived: bool = False


def climb(choice: Field, forced: int | None = None) -> list[Rung]:
    """Rungs in the order tried; the last one is the result. `forced` evaluates that rung alone."""
    if forced is not None:
        return [evaluate(choice, forced)]
    rungs = []
    for number in (1, 2, 3, 4):
        rungs.append(evaluate(choice, number))
        if choice.reached(rungs[-1].winners):
            break
    return rungs


def evaluate(choice: Field, number: int) -> Rung:
    """One rung; rungs 3 and 4 contain the recruits of rung 2."""
    relaxed = min(number, 2)
    recruits = recruit(choice, choice.barred | choice.soft[relaxed])
    winners = {atom: Admission(relaxed, None) for atom in recruits}
    if number >= 3:
        winners |= _cluster_floor(choice, winners)
    if number < 4:
        return Rung(number, winners)
    first = _fallback(choice, winners, max(choice.top_n, ceil(choice.floor / max(len(choice.quota), 1))))
    winners |= first
    second = _fallback(choice, winners, None)
    return Rung(4, winners | second, waived=bool(second))


def recruit(choice: Field, excluded: frozenset[str]) -> list[str]:
    """The first `quota` atoms of each cluster and leg that are not excluded, best first."""
    taken: Counter[tuple[str, str]] = Counter()
    recruits = []
    for member in choice.members:
        seat = (member.cluster, member.direction)
        if member.atom not in excluded and taken[seat] < choice.quota[member.cluster]:
            taken[seat] += 1
            recruits.append(member.atom)
    return recruits


def _cluster_floor(choice: Field, winners: Mapping[str, Admission]) -> dict[str, Admission]:
    served = {member.cluster for member in choice.members if member.atom in winners}
    added: dict[str, Admission] = {}
    for member in choice.members:
        if member.cluster not in served and member.atom not in choice.barred:
            served.add(member.cluster)
            added[member.atom] = Admission(3, "cluster_floor")
    return added


def _fallback(choice: Field, winners: Mapping[str, Admission], limit: int | None) -> dict[str, Admission]:
    counts = Counter(member.cluster for member in choice.members if member.atom in winners)
    added: dict[str, Admission] = {}
    for member in choice.members:
        taken = {*winners, *added}
        if choice.reached(taken):
            break
        lacking = choice.lacking(taken)
        served = bool(lacking) and len(taken) >= choice.floor and member.direction not in lacking
        full = limit is not None and counts[member.cluster] >= limit
        if member.atom not in taken and member.atom not in choice.barred and not full and not served:
            counts[member.cluster] += 1
            added[member.atom] = Admission(4, "alpha_fallback")
    return added


def recruits_per_leg(top_n: int, rho: float, *, dynamic: bool) -> int:
    """`top_n`, or with dynamic sizing max(1, floor(top_n (1 - ρ) + 0.5)), ρ clipped to [0, 1]."""
    return max(1, int(top_n * (1.0 - min(max(rho, 0.0), 1.0)) + 0.5)) if dynamic else top_n


def scarcity_level(n: int, floor: int) -> Literal["SCARCE", "ULTRA_SPARSE", "EMPTY"] | None:
    """SCARCE from 5 to below the floor, ULTRA_SPARSE from 1 to 4, EMPTY at none."""
    if n >= floor:
        return None
    return "SCARCE" if n >= 5 else "ULTRA_SPARSE" if n else "EMPTY"
