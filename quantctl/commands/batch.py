"""`batch`: a strategy walked through time, one run per profile and as-of date."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from quantctl.batches import WINDOW, Wanted
from quantctl.commands.runs import NoWait, PipelineOption, finish
from quantctl.contracts.ids import check_run_id
from quantctl.invocation import invocation
from quantctl.options import Json, RunId, Snapshot
from quantctl.output import emit, table
from quantctl.session import reading, running
from quantctl.workflows.runs import statuses_of

app = typer.Typer()

Profiles = Annotated[
    list[str] | None, typer.Option("--profile", help="Profile, repeatable (else TV_PROFILE).")
]
Dates = Annotated[
    list[str] | None, typer.Option("--as-of", help="Decision date, YYYY-MM-DD, repeatable; a session.")
]
First = Annotated[str | None, typer.Option("--from", help="First date of a range (else the first session).")]
Last = Annotated[str | None, typer.Option("--to", help="Last date of a range (else the snapshot's).")]
Every = Annotated[int, typer.Option("--every", min=1, help="Of a range, every n-th session.")]
KeepGoing = Annotated[bool, typer.Option("--keep-going", help="Begin the other children after a failure.")]
Window = Annotated[
    int, typer.Option("--window", min=1, help="Children that may have begun beyond those that ended.")
]
Plan = Annotated[bool, typer.Option("--plan", "--dry-run", help="List the children; writes nothing.")]


@app.command()
def batch(
    ctx: typer.Context,
    profile: Profiles = None,
    as_of: Dates = None,
    first: First = None,
    last: Last = None,
    every: Every = 1,
    run_id: RunId = None,
    snapshot: Snapshot = "latest",
    pipeline: PipelineOption = "alpha.full",
    keep_going: KeepGoing = False,
    window: Window = WINDOW,
    no_wait: NoWait = False,
    plan: Plan = False,
    as_json: Json = False,
) -> int:
    """Run profiles at many dates: each (profile, date) is a run of its own, a child of the batch.

    Give dates one by one (`--as-of D --as-of E`) or as a range (`--from D --to E --every 21`). The
    candidate rows of every date must be there (`quantctl data candidates --profile P --as-of D`).

    A child's id is `<batch>-<date>`, or `<batch>-<profile>-<date>` where there are several profiles; show,
    explain and audit it like any run. One failure stops the batch: children that had begun end, the others
    are skipped. `quantctl retry` runs the failed and the skipped ones. Kill the batch anywhere and type
    the command again, with the same --run-id: no child that ended runs twice.
    """
    resolved = invocation(ctx).resolve(profile[0] if profile else None, require_profile=True)
    wanted = Wanted(
        profiles=tuple(profile or [resolved.profile or ""]), as_of=tuple(as_of or ()), first=first, last=last,
        every=every, pipeline=pipeline, run_id=run_id or resolved.run_id, snapshot=snapshot,
        keep_going=keep_going, window=window,
    )  # fmt: skip
    if wanted.run_id is not None:
        check_run_id(wanted.run_id)
    if plan:
        return _plan(ctx, wanted, as_json)
    with running(ctx, wanted.run_id, quiet=as_json) as held:
        request = held.sdk.batch_request(wanted)
        held.run_id = request.run_id
        return finish(held.sdk.start(request, wait=not no_wait), as_json)


def _plan(ctx: typer.Context, wanted: Wanted, as_json: bool) -> int:
    sdk = reading(ctx)
    request = sdk.batch_request(wanted)
    rows: list[dict[str, Any]] = [
        child | {"run_id": f"{request.run_id}-{child['suffix']}"} for child in request.arguments["children"]
    ]
    ids = [row["run_id"] for row in rows]
    known = {run.run_id: run.state for run in statuses_of(sdk.places, ids)}
    for row in rows:
        row["state"] = known.get(row["run_id"], "new")
    facts = {"run_id": request.run_id, "pipeline": wanted.pipeline, "snapshot": request.snapshot["id"],
             "window": wanted.window, "keep_going": wanted.keep_going, "children": rows}  # fmt: skip
    head = f"{len(rows)} runs of {wanted.pipeline} on {request.snapshot['id']}, batch {request.run_id}"
    cells = [(row["run_id"], row["profile"], row["as_of"], row["state"]) for row in rows]
    emit("batch_plan", facts, f"{head}\n\n{table(('run', 'profile', 'as of', 'state'), cells)}",
         as_json=as_json)  # fmt: skip
    return 0
