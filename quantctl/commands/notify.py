"""`quantctl notify`: who was told of the ends of runs, and trying again what was not told."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from quantctl.contracts.errors import DataMissing
from quantctl.options import Json, Limit
from quantctl.output import emit, judged, table
from quantctl.session import reading

app = typer.Typer(
    help="Who is told of the ends of runs (settings `notify.*`). Workers send by themselves.",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip


@app.command("list")
def list_notices(
    ctx: typer.Context,
    unsent: Annotated[bool, typer.Option("--unsent", help="Only what nobody has got.")] = False,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Notices, newest first: OPEN until SENT, or DROPPED after `notify.tries`."""
    rows = reading(ctx).notices(unsent=unsent, limit=limit or 200)
    emit("notices", rows, _table(rows), as_json=as_json)


@app.command("send")
def send(
    ctx: typer.Context,
    run_id: Annotated[str | None, typer.Argument(help="Only of this run (default: all).")] = None,
    as_json: Json = False,
) -> int:
    """Try now what was not told, also what was given up. Exits 3 while something remains untold."""
    rows = reading(ctx).send_notices(run_id)
    left = [row for row in rows if row["state"] != "SENT"]
    problem = None
    if left:
        first = left[0]
        problem = DataMissing(
            "NOTICE_FAILED", f"{first['channel']} not told: {first['problem']}", where=first["run_id"],
            remedy=f"cure it, then: quantctl notify send {first['run_id']}",
        )  # fmt: skip
    return judged("notices", rows, _table(rows), problem, as_json=as_json)


def _table(rows: list[dict[str, Any]]) -> str:
    return table(
        ["run", "ended", "by", "state", "tries", "problem"],
        [
            (row["run_id"], row["facts"]["state"], row["channel"], row["state"], row["tries"], row["problem"])
            for row in rows
        ],
    )
