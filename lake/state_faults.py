"""Faults of the state database, the same for both kinds."""

from __future__ import annotations

from quantctl.contracts.errors import StateUnreachable


class TablesMissing(StateUnreachable):
    """The database is there, and the tables of a query are not: no run was ever started in it."""

    def __init__(self, problem: BaseException) -> None:
        super().__init__(
            "STATE_UNREACHABLE",
            f"the state database has no tables yet: {str(problem).splitlines()[0]}",
            remedy="quantctl doctor --fix, then repeat the command",
        )


def unreachable(problem: str, where: str, remedy: str) -> StateUnreachable:
    """`STATE_UNREACHABLE` (exit 5), in one line."""
    text = " ".join(problem.split())
    return StateUnreachable(
        "STATE_UNREACHABLE", f"the state database can't be used: {text}", where=where, remedy=remedy
    )
