"""`quantctl schedule`: which profiles run by themselves, and when. `quantctl worker` fires them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from quantctl.options import Json, Limit
from quantctl.output import emit, table
from quantctl.session import reading

app = typer.Typer(
    help="Apply, list and remove the schedules that profiles declare under `schedule:`; a worker fires them.",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip

Profiles = Annotated[
    list[str] | None, typer.Option("--profile", help="Only this profile; may be repeated (default: all).")
]


@app.command("apply")
def apply(
    ctx: typer.Context,
    profile: Profiles = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Put the schedules of profiles in force; applying twice changes nothing.

    A profile declares one in its own file, for example

      schedule: {pipeline: data.full, cron: "30 0 * * *"}        in nightly_data.yaml
      schedule: {after: nightly_data}                            in a sleeve

    The sleeve starts once the data run of the same time has succeeded, and not at all after one that
    failed. Without --profile every profile counts, and a schedule that none declares any more is removed.
    """
    changes = reading(ctx).apply_schedules(profile or (), dry_run=dry_run)
    rows = [(change.profile, change.change, ", ".join(change.keys)) for change in changes]
    data = {"dry_run": dry_run, "changes": [asdict(change) for change in changes]}
    emit("schedule_apply", data, table(["profile", "schedule", "keys"], rows), as_json=as_json)


@app.command("list")
def list_schedules(ctx: typer.Context, as_json: Json = False) -> None:
    """Schedules in force: the next time of each, the last one, and why nothing started then."""
    rows = reading(ctx).schedules()
    emit("schedules", rows, table(["profile", "pipeline", "when", "next", "last", "came to"], [
        (row["profile"], row["pipeline"], _when(row), row["next"], row["last"] and row["last"]["fire"],
         _outcome(row["last"]))
        for row in rows
    ]), as_json=as_json)  # fmt: skip


@app.command("times")
def times(
    ctx: typer.Context,
    profile: Annotated[str | None, typer.Argument(help="Only of this profile.")] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Times that have fired, newest first, with the run of each or why there is none."""
    rows = reading(ctx).schedule_times(profile, limit=limit or 50)
    text = table(
        ["fired", "profile", "run", "came to"],
        [(row["fire"], row["profile"], row["run_id"], _outcome(row)) for row in rows],
    )
    emit("schedule_times", rows, text, as_json=as_json)


@app.command("remove")
def remove(
    ctx: typer.Context,
    profiles: Annotated[list[str], typer.Argument(help="Profiles whose schedules end.")],
    as_json: Json = False,
) -> None:
    """Remove schedules. Take them out of the profile too, else the next `schedule apply` adds them again."""
    changes = reading(ctx).remove_schedules(profiles)
    text = table(["profile", "schedule"], [(change.profile, change.change) for change in changes])
    emit("schedule_remove", [asdict(change) for change in changes], text, as_json=as_json)


def _when(row: dict[str, Any]) -> str:
    cron = row["cron"] and (row["cron"] if row["timezone"] == "UTC" else f"{row['cron']} {row['timezone']}")
    after = row["after"] and f"after {row['after']}"
    return ", ".join(part for part in (cron, after, None if row["enabled"] else "off") if part)


def _outcome(time: dict[str, Any] | None) -> str | None:
    if time is None:
        return None
    if time["state"] == "STARTED":
        return str(time["run_state"] or "STARTED")
    return f"{time['state']}: {time['reason']}" if time["reason"] else str(time["state"])
