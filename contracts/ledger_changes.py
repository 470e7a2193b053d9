"""How one copy of a ledger differs from another: which lines were edited, removed, inserted or moved.

Two copies of a chain exist, the table of the state database and `audit.jsonl`. Where one of them holds by
its own hashes, what was done to the other can be named line by line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from quantctl.contracts.canonical import canonical, parse_strict
from quantctl.contracts.errors import QuantError

Kind = Literal["edited", "removed", "inserted", "reordered", "truncated", "appended"]


class Change(NamedTuple):
    """What was done, the first line where it shows (counted from 0), and to how many lines.

    line : of the copy that was changed; for removed lines, where the first of them stood
    """

    kind: Kind
    line: int
    lines: int


def changes(found: Sequence[bytes], reference: Sequence[bytes]) -> list[Change]:
    """What turned `reference` into `found`, in the order of lines; empty where they are equal.

    reference : lines of a chain that holds, so that line n has `seq` n
    """
    pairs = enumerate(zip(found, reference, strict=False))
    shared = next(
        (place for place, (mine, theirs) in pairs if mine != theirs), min(len(found), len(reference))
    )
    if shared == len(found) == len(reference):
        return []
    if shared == len(found):
        return [Change("truncated", shared, len(reference) - shared)]
    if shared == len(reference):
        return [Change("appended", shared, len(found) - shared)]
    told = _Comparison(found, reference).changes()
    return sorted(told, key=lambda change: (change.line, change.kind))


class _Comparison:
    def __init__(self, found: Sequence[bytes], reference: Sequence[bytes]) -> None:
        self.found, self.reference = found, reference
        self.known = {line: seq for seq, line in enumerate(reference)}
        self.missing = set(self.known.values()) - {self.known[line] for line in found if line in self.known}

    def changes(self) -> Iterable[Change]:
        inserted, edited = self._strange()
        yield from _change("inserted", inserted)
        yield from _change("edited", edited)
        yield from self._gone()
        yield from _change("reordered", self._moved())

    def _strange(self) -> tuple[list[int], list[int]]:
        """Lines that the reference has not, or not as often: inserted ones, and edited ones."""
        inserted, edited = [], []
        seen: Counter[bytes] = Counter()
        for place, line in enumerate(self.found):
            seen[line] += 1
            if line in self.known:
                if seen[line] > 1:
                    inserted.append(place)
                continue
            original = self._original(place)
            if original is None:
                inserted.append(place)
            else:
                self.missing.discard(original)
                edited.append(place)
        return inserted, edited

    def _original(self, place: int) -> int | None:
        """The missing line that a strange one stands for: that of its number, or the one due at its place."""
        seq = seq_of(self.found[place])
        if seq in self.missing:
            return seq
        before = self.known.get(self.found[place - 1], place - 1) if place else -1
        return before + 1 if before + 1 in self.missing else None

    def _gone(self) -> Iterable[Change]:
        if not self.missing:
            return
        last, first = len(self.reference), min(self.missing)
        cut = self.missing == set(range(first, last))
        yield Change("truncated" if cut else "removed", min(first, len(self.found)), len(self.missing))

    def _moved(self) -> list[int]:
        """Places of lines of the reference that stand where another one of them should."""
        held: dict[int, int] = {}
        for place, line in enumerate(self.found):
            if line in self.known:
                held.setdefault(self.known[line], place)
        return [place for (seq, place), due in zip(held.items(), sorted(held), strict=True) if seq != due]


def _change(kind: Kind, places: Sequence[int]) -> Iterable[Change]:
    if places:
        yield Change(kind, places[0], len(places))


def seq_of(line: bytes) -> int | None:
    """The number that a line gives itself; null where it is no record."""
    record = record_of(line)
    seq = record.get("seq") if record is not None else None
    return seq if isinstance(seq, int) and not isinstance(seq, bool) else None


def record_of(line: bytes) -> Mapping[str, Any] | None:
    """A line with its end as an object; null where it is none, or is torn."""
    try:
        record = parse_strict(line) if line.endswith(b"\n") else None
    except QuantError:
        return None
    return record if isinstance(record, dict) else None


def in_form(line: bytes, record: Mapping[str, Any]) -> bool:
    """Whether a line is its record's one canonical form."""
    return canonical(record) + b"\n" == line
