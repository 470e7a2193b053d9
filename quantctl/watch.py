"""Progress of a run, read from its ledger: a live table on a terminal, plain lines elsewhere.

The engine never prints. What a person sees is what is booked, so a command that follows shows the
same as one that executes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from quantctl.contracts.canonical import parse_strict
from quantctl.contracts.records.batch import CHILD_CLOSED, CHILD_SKIPPED, STAGE
from quantctl.lake import state
from quantctl.progress import planned, progress
from quantctl.workflows.runtime import Places

LOOK_SECONDS = 0.2
MARKS = {"success": "ok", "failed": "FAILED", "skipped": "skipped", "intent": "..."}

MARKS_OF_CHILDREN = {
    "SUCCESS": "success", "FAILED": "failed", "CANCELLED": "CANCELLED", "SKIPPED": "skipped",
}  # fmt: skip


@dataclass
class StageLine:
    """What is known of one stage."""

    stage: str
    status: str = "waiting"
    seconds: float | None = None
    gates: list[str] = field(default_factory=list)
    code: str | None = None
    opened: float = 0.0


class Watch:
    """Follows the ledger of one run; call it as often as you like."""

    def __init__(self, places: Places, run_id: Callable[[], str | None], *, quiet: bool = False) -> None:
        self._places = places
        self._run_id = run_id
        self._seq = -1
        self._shown: str | None = None
        self._lines: dict[str, StageLine] = {}
        self._children = 0
        self._looked = 0.0
        self._live = None if quiet or not sys.stderr.isatty() else _LiveTable()
        self._quiet = quiet

    def __call__(self) -> None:
        """Look for new records at most five times a second, and show what changed."""
        run_id = self._run_id()
        if self._quiet or run_id is None or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        if run_id != self._shown:
            self._turn_to(run_id)
        self._looked = time.monotonic()
        for record in self._fresh(run_id):
            self._note(record)
        self._count_children(run_id)
        if self._live is not None:
            self._live.show(list(self._lines.values()))

    def _count_children(self, run_id: str) -> None:
        """On a terminal: how many children of a batch have ended, run and wait."""
        line = self._lines.get(STAGE)
        if self._live is None or line is None or line.status != "intent":
            return
        self._children = self._children or planned(self._places, run_id)
        line.gates = [progress(self._places, run_id, self._children).words()]

    def _turn_to(self, run_id: str) -> None:
        """Begin to show another run; the last one's records are shown first."""
        if self._shown is not None:
            self._catch_up(self._shown)
        self._shown, self._seq, self._lines, self._children = run_id, -1, {}, 0
        sys.stderr.write(f"{run_id}\n")

    def _catch_up(self, run_id: str) -> None:
        for record in self._fresh(run_id):
            self._note(record)
        if self._live is not None:
            self._live.show(list(self._lines.values()))
            self._live.close()
            self._live = _LiveTable()

    def close(self) -> None:
        """Show the last records and leave the terminal tidy."""
        self._looked = 0.0
        self()
        if self._live is not None:
            self._live.close()

    def _fresh(self, run_id: str) -> list[dict[str, Any]]:
        try:
            with state.reader(self._places.state_url) as connection:
                if connection is None:
                    return []
                rows = connection.execute(
                    "SELECT record FROM run_ledger WHERE run_id = ? AND seq > ? ORDER BY seq",
                    (run_id, self._seq),
                ).fetchall()
        except state.TablesMissing:
            return []
        records = [parse_strict(row[0]) for row in rows]
        if records:
            self._seq = records[-1]["seq"]
        return records

    def _note(self, record: dict[str, Any]) -> None:
        if record["type"] == "genesis":
            self._lines = {stage: StageLine(stage) for stage in record["data"]["stages"]}
        elif record["type"] == "stage":
            self._note_stage(record)
        elif record["type"] == "gate":
            line = self._lines.setdefault(record["step"], StageLine(record["step"]))
            line.gates.append(f"{record['data']['gate']} {record['data']['status']}")
        elif record["code"] in (CHILD_CLOSED, CHILD_SKIPPED) and self._live is None:
            data = record["data"]
            line = StageLine(data["run_id"], MARKS_OF_CHILDREN[data["state"]], code=data.get("code"))
            sys.stderr.write(plain(line) + "\n")
            sys.stderr.flush()

    def _note_stage(self, record: dict[str, Any]) -> None:
        line = self._lines.setdefault(record["step"], StageLine(record["step"]))
        line.status, line.code = record["status"], record["code"]
        moment = _seconds(record["ts"])
        if record["status"] == "intent":
            line.opened, line.gates, line.seconds = moment, [], None
            return
        line.seconds = moment - line.opened if line.opened else None
        if self._live is None:
            sys.stderr.write(plain(line) + "\n")
            sys.stderr.flush()


def plain(line: StageLine) -> str:
    """One line of text for a stage."""
    took = f"{line.seconds:6.2f} s" if line.seconds is not None else " " * 8
    gates = ", ".join(line.gates)
    return f"{MARKS.get(line.status, line.status):>8}  {line.stage:<26} {took}  {line.code or gates}".rstrip()


def _seconds(ts: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(ts.replace("Z", "+00:00")).timestamp()


class _LiveTable:
    """The stages as a table that is redrawn in place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), refresh_per_second=8, transient=False)
        self._started = False

    def show(self, lines: list[StageLine]) -> None:
        from rich.table import Table

        if not lines:
            return
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for title in ("stage", "status", "seconds", "gates"):
            table.add_column(title, justify="right" if title == "seconds" else "left")
        for line in lines:
            table.add_row(line.stage, _styled(line), _took(line), line.code or ", ".join(line.gates))
        if not self._started:
            self._live.start()
            self._started = True
        self._live.update(table)

    def close(self) -> None:
        if self._started:
            self._live.stop()


def _styled(line: StageLine) -> str:
    colour = {"success": "green", "failed": "red", "intent": "yellow", "waiting": "dim", "skipped": "dim"}
    text = {"intent": "running"}.get(line.status, line.status)
    return f"[{colour.get(line.status, 'default')}]{text}[/]"


def _took(line: StageLine) -> str:
    if line.status == "intent":
        return f"{time.time() - line.opened:.1f}"
    return "" if line.seconds is None else f"{line.seconds:.2f}"
