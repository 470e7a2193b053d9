"""`run`, `plan`, `resume`, `retry`, `fork`, `cancel` and `gc`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from quantctl.contracts.ids import check_run_id
from quantctl.invocation import invocation
from quantctl.options import AsOf, Json, Profile, RunId, Snapshot
from quantctl.output import document, emit, print_json, table
from quantctl.sdk import RunResult
from quantctl.session import run_document, running, verdict_text

app = typer.Typer()

PipelineOption = Annotated[str, typer.Option("--pipeline", help="Which pipeline to run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan instead (same as `plan`).")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Enqueue for a worker and return.")]
Remote = Annotated[
    bool | None,
    typer.Option("--remote/--embedded", help="Only enqueue and follow / run in this process."),
]


@app.command()
def run(
    ctx: typer.Context,
    profile: Profile = None,
    run_id: RunId = None,
    snapshot: Snapshot = "latest",
    as_of: AsOf = None,
    pipeline: PipelineOption = "alpha.full",
    no_wait: NoWait = False,
    remote: Remote = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Run a profile: nine mandatory steps with their gates, ending in a report.

    The same run id with the same inputs attaches to the run there is: a finished one prints its
    verdict, an interrupted one is resumed. Kill it anywhere and type the command again.
    """
    if dry_run:
        return plan(ctx, profile, run_id, snapshot, as_of, pipeline, as_json)
    resolved = invocation(ctx).resolve(profile, require_profile=True)
    chosen = run_id or resolved.run_id
    with running(ctx, check_run_id(chosen) if chosen else None, quiet=as_json) as held:
        request = held.sdk.request(pipeline, profile=profile, run_id=chosen, snapshot=snapshot, as_of=as_of)
        held.run_id = request.run_id
        return finish(held.sdk.start(request, remote=remote, wait=not no_wait), as_json)


@app.command()
def plan(
    ctx: typer.Context,
    profile: Profile = None,
    run_id: RunId = None,
    snapshot: Snapshot = "latest",
    as_of: AsOf = None,
    pipeline: PipelineOption = "alpha.full",
    as_json: Json = False,
) -> int:
    """Print the very list of stages that `run` would execute. Writes nothing."""
    from quantctl.session import reading
    from quantctl.workflows.registry import build

    sdk = reading(ctx)
    request = sdk.request(pipeline, profile=profile, run_id=run_id, snapshot=snapshot, as_of=as_of)
    there = {row["name"] for row in sdk.known_artifacts(request.run_id)}
    built = build(pipeline)
    rows: list[dict[str, Any]] = [
        {
            "stage": spec.id, "purpose": spec.purpose, "inputs": list(spec.inputs),
            "writes": list(spec.writes), "gates": [gate.id for gate in built.gates[spec.id]],
            "artifacts": "present" if spec.writes and set(spec.writes) <= there else "missing",
        }
        for spec in built.stages
    ]  # fmt: skip
    head = (
        f"{request.pipeline} of {request.profile} as of {request.as_of or '-'}"
        f" on {request.snapshot.get('id', '-')}"
    )
    cells = [(r["stage"], r["purpose"], ", ".join(r["gates"]), r["artifacts"]) for r in rows]
    text = f"{head}\n\n{table(('stage', 'purpose', 'gates', 'artifacts'), cells)}"
    facts = {k: getattr(request, k) for k in ("pipeline", "profile", "as_of", "run_id")}
    emit("plan", {**facts, "snapshot": request.snapshot, "stages": rows}, text, as_json=as_json)
    return 0


@app.command()
def resume(
    ctx: typer.Context,
    run_id: str,
    adopt_version: Annotated[
        bool,
        typer.Option(
            "--adopt-version",
            help="Let a run of another workflow protocol go on under this one; booked once.",
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """Continue an interrupted run: only stages without a booked outcome are executed.

    Where a worker lives it takes the run up and this command follows. A run of another workflow
    protocol is refused unless you adopt it, and then only if its stages are the same.
    """
    with running(ctx, check_run_id(run_id), quiet=as_json) as held:
        return finish(held.sdk.resume(run_id, adopt_version=adopt_version), as_json)


@app.command()
def retry(
    ctx: typer.Context,
    run_id: str,
    from_stage: Annotated[
        str | None, typer.Option("--from-stage", help="An earlier stage than the one that failed.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Run a failed run again from its first failed stage, under the same id, as its next attempt.

    The outputs from that stage on move to `attempts/<n>/`; nothing is deleted. Where a worker lives it
    does so and this command follows.
    """
    with running(ctx, check_run_id(run_id), quiet=as_json) as held:
        return finish(held.sdk.retry(run_id, from_stage), as_json)


@app.command()
def fork(
    ctx: typer.Context,
    run_id: str,
    from_stage: Annotated[
        str, typer.Option("--from-stage", help="The first stage that the new run executes itself.")
    ],
    new_id: Annotated[
        str | None, typer.Option("--run-id", help="Id of the new run (else profile and time).")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="A setting that differs, key.path=value; repeatable.")
    ] = None,
    no_wait: NoWait = False,
    remote: Remote = None,
    as_json: Json = False,
) -> int:
    """Make a new run that keeps the stages of another one before a stage, and runs the others itself.

    It has the settings, snapshot and date of its source but for the keys that you set. What it keeps is
    linked, verified and booked with `kept_from`, never run or judged again; a key that would change a
    kept stage is refused with the stage to fork from instead.

    quantctl fork RUN_ID --from-stage allocation.optimization --set allocation.kappa_max=2000
    """
    params = dict(_pair(text) for text in sets or [])
    with running(ctx, check_run_id(new_id) if new_id else None, quiet=as_json) as held:
        request = held.sdk.fork_request(
            check_run_id(run_id), from_stage=from_stage, new_id=new_id, params=params
        )
        held.run_id = request.run_id
        return finish(held.sdk.start(request, remote=remote, wait=not no_wait), as_json)


def _pair(text: str) -> tuple[str, str]:
    from quantctl.contracts.errors import ConfigError

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            "SETTING_SYNTAX", f"{text!r} is not key.path=value", where="--set",
            remedy="write --set key.path=value",
        )  # fmt: skip
    return key.strip(), value


@app.command()
def cancel(
    ctx: typer.Context,
    run_id: str,
    reason: Annotated[str, typer.Option("--reason", help="Kept in the ledger.")] = "",
    as_json: Json = False,
) -> int:
    """Cancel a run: a queued or interrupted one at once, one that executes before its next stage.

    Its ledger is closed with the reason, its stages not started are `skipped`, and it is never
    continued. Whichever process executes the run does it; this command waits until it is done.
    """
    with running(ctx, check_run_id(run_id), quiet=as_json) as held:
        result = held.sdk.cancel(run_id, reason)
    emit("run", run_document(result), f"{result.state}  {run_id}", as_json=as_json)
    return 0


@app.command()
def gc(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list.")] = False,
    older_than: Annotated[float, typer.Option("--older-than", min=0, help="Grace period in hours.")] = 24.0,
    as_json: Json = False,
) -> int:
    """Remove temporary files that a kill left behind and artifacts that no run names."""
    from quantctl.session import reading

    removed = reading(ctx).collect_garbage(older_than_hours=older_than, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    lines = [f"{verb} {path}" for path in removed] or ["nothing to remove"]
    emit("gc", {"dry_run": dry_run, "removed": removed}, "\n".join(lines), as_json=as_json)
    return 0


def finish(result: RunResult, as_json: bool) -> int:
    """Print the verdict of a run; returns its exit code."""
    if as_json:
        ok = result.state in ("SUCCESS", "QUEUED", "RUNNING")
        body = document("run", run_document(result), ok=ok)
        if not ok:
            status = result.status
            body["error"] = {
                "code": status.code, "exit": result.exit_code, "message": status.message,
                "remedy": result.remedy or f"quantctl retry {result.run_id}", "run_id": result.run_id,
                "artifact": None,
            }  # fmt: skip
        print_json(body)
    else:
        print(verdict_text(result))
    if result.state == "FAILED":
        _explain_failure(result)
    return result.exit_code or 0


def _explain_failure(result: RunResult) -> None:
    import sys

    status = result.status
    print(f"error[{status.code}] {status.message}", file=sys.stderr)
    print(f"remedy: {result.remedy or f'quantctl retry {result.run_id}'}", file=sys.stderr)
