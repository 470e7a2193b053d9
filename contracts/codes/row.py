"""The shape of a row in a code table."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """One code: how a command that stops for it exits, and what it says.

    `exit` is null for codes that only ever appear in findings (a veto, a warning, an event).
    """

    exit: int | None
    sentence: str
