"""How many children of a batch have ended, run, wait or never began."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from quantctl.lake import state
from quantctl.workflows import children
from quantctl.workflows.runtime import Places


@dataclass(frozen=True)
class Progress:
    """Children by state; `waiting` ones have not begun, and never will once the batch has ended."""

    total: int
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    running: int = 0
    queued: int = 0
    interrupted: int = 0
    waiting: int = 0

    def document(self) -> dict[str, int]:
        """Its JSON form."""
        return asdict(self)

    def words(self) -> str:
        """One line for a person: `12 of 240: 10 succeeded, 2 running, 228 waiting`."""
        counts = self.document()
        total, ended = counts.pop("total"), self.succeeded + self.failed + self.cancelled
        told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        return f"{ended} of {total}: {told}"


def planned(places: Places, parent: str) -> int:
    """How many children a batch is to have; 0 for a run that is none."""
    return len(children.ids(places, parent))


def progress(places: Places, parent: str, total: int) -> Progress:
    """Where the `total` children of a batch stand now."""
    try:
        states = [child.state.lower() for child in children.begun(places, parent)]
    except state.TablesMissing:
        states = []
    names = ("failed", "cancelled", "running", "queued", "interrupted")
    counts = {name: states.count(name) for name in names}
    return Progress(total, states.count("success"), waiting=total - len(states), **counts)
