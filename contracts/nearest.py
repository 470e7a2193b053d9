"""The nearest known name of a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable

MAX_DISTANCE = 3


def edit_distance(a: str, b: str) -> int:
    """Damerau-Levenshtein distance (insert, delete, replace, swap of neighbours), O(len a * len b)."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        row = [i]
        for j, y in enumerate(b, start=1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name within edit distance 3 of `name`; ties by name. None if there is none."""
    ranked = sorted((edit_distance(name.lower(), other.lower()), other) for other in known)
    return ranked[0][1] if ranked and ranked[0][0] <= MAX_DISTANCE else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"`, or an empty string."""
    other = nearest(name, known)
    return f"; did you mean {other!r}?" if other else ""
