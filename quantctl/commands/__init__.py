"""The commands: one row each, one module per group, imported when the command is called.

A module offers `app`, a `typer.Typer`. A row with `group=False` is the command of that name in the
app; a row with `group=True` is the whole app under that name.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One command: its name, the module below `quantctl.commands`, its sentence and its topic."""

    name: str
    module: str
    sentence: str
    topic: str
    group: bool = False
    hidden: bool = False


RUNS, LOOK, DATA, SYSTEM = "Runs", "Look", "Data", "System"

ROWS: tuple[Row, ...] = (
    Row("run", "runs", "Run a profile: selection, synthesis, allocation and report, with all gates.", RUNS),
    Row("batch", "batch", "Run profiles at many dates: one run each, all of them one batch.", RUNS),
    Row("plan", "runs", "Print the stages that `run` would execute; writes nothing.", RUNS),
    Row("resume", "runs", "Continue an interrupted run.", RUNS),
    Row("retry", "runs", "Run a failed run again from its first failed stage.", RUNS),
    Row("fork", "runs", "A new run that keeps the first stages of another one.", RUNS),
    Row("cancel", "runs", "Stop a run at the next stage boundary.", RUNS),
    Row("demo", "demo", "Offline, end to end, on a simulated market: both sleeves with audits.", RUNS),
    Row("status", "look", "State of runs, and how to go on.", LOOK),
    Row("list", "look", "Runs, newest first.", LOOK),
    Row("show", "look", "A run, or one of its artifacts.", LOOK),
    Row("logs", "look", "Log lines of a run.", LOOK),
    Row("explain", "look", "Why a symbol is in or out of a run, stage by stage.", LOOK),
    Row("sql", "sql", "Query runs, ledger, artifacts and the lake.", LOOK),
    Row("ledger", "ledger", "Show and verify the audit ledger.", LOOK, group=True),
    Row("audit", "audit", "Audit a run without changing it.", LOOK, group=True),
    Row("atomic-audit", "audit", "Alias of `audit atomic`.", LOOK, hidden=True),
    Row("report", "report", "Build or open reports.", LOOK, group=True),
    Row("data", "data", "Import, simulate, check and publish market data.", DATA, group=True),
    Row("lake", "lake", "Snapshots, history and integrity of the lakehouse.", DATA, group=True),
    Row("profiles", "profiles", "List, show, check and compare profiles.", SYSTEM, group=True),
    Row("stage", "stage", "List, describe and run single stages.", SYSTEM, group=True),
    Row("schedule", "schedule", "Apply, list and remove the schedules of profiles.", SYSTEM, group=True),
    Row("notify", "notify", "Who is told of the ends of runs; tell the rest.", SYSTEM, group=True),
    Row("worker", "worker", "Serve queued and interrupted runs until SIGTERM.", SYSTEM),
    Row("gc", "runs", "Remove orphaned temporaries and unreferenced artifacts.", SYSTEM),
    Row("doctor", "doctor", "Check the installation.", SYSTEM),
    Row("env-check", "doctor", "Alias of `doctor`.", SYSTEM, hidden=True),
    Row("init", "init", "Prepare a working directory.", SYSTEM),
)
