"""`status`, `list`, `show`, `logs` and `explain`: reading runs."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from quantctl.conflicts import in_words
from quantctl.contracts.errors import ConfigError, DataMissing
from quantctl.contracts.ids import check_run_id
from quantctl.contracts.nearest import did_you_mean
from quantctl.options import Json, Limit, Since
from quantctl.output import emit, table
from quantctl.session import reading, run_document, verdict_text
from quantctl.workflows.runs import TERMINAL, RunStatus

app = typer.Typer()

CONFLICTS = "infeasibility"
LISTED = 20  # runs that `list` shows unless told how many
ALL_CHILDREN = 100_000
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@app.command()
def status(
    ctx: typer.Context,
    run_id: Annotated[str | None, typer.Argument(help="Run id; without it, every unfinished run.")] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit as the run did.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show progress until the run ends.")] = False,
    as_json: Json = False,
) -> int:
    """Where a run stands and the command that goes on with it."""
    sdk = reading(ctx)
    if run_id is None:
        open_runs = sdk.runs(limit=500, state="OPEN")
        emit("runs", [run.__dict__ for run in open_runs], _runs_table(open_runs), as_json=as_json)
        return 0
    check_run_id(run_id)
    if follow:
        _follow(ctx, run_id, quiet=as_json)
    result = sdk.status(run_id)
    text = f"{_state_line(result.status)}\n{verdict_text(result)}"
    emit("run", run_document(result), text, as_json=as_json)
    return (result.exit_code or 0) if exit_code else 0


@app.command(name="list")
def list_runs(
    ctx: typer.Context,
    profile: Annotated[str | None, typer.Option("--profile", help="Only this profile.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="Only this state.")] = None,
    pipeline: Annotated[str | None, typer.Option("--pipeline", help="Only this pipeline.")] = None,
    parent: Annotated[
        str | None, typer.Option("--parent", help="Only the children of this batch, by id.")
    ] = None,
    limit: Limit = None,
    since: Since = None,
    as_json: Json = False,
) -> int:
    """Runs, newest first: 20 of them unless you say how many.

    With --parent all children of a batch that have begun, by id; so `--parent BATCH --state failed` is
    what a batch failed for.
    """
    found = reading(ctx).runs(
        limit=limit or (LISTED if parent is None else ALL_CHILDREN), profile=profile, pipeline=pipeline,
        state=state and state.upper(), since=since, parent=parent,
    )  # fmt: skip
    emit("runs", [run.__dict__ for run in found], _runs_table(found), as_json=as_json)
    return 0


@app.command()
def show(
    ctx: typer.Context,
    run_id: Annotated[str, typer.Argument(help="Run id, or quant://run/RUN_ID/path.")],
    artifact: Annotated[str | None, typer.Argument(help="Name or path of an artifact.")] = None,
    path: Annotated[bool, typer.Option("--path", help="Print only where it lies.")] = False,
    as_json: Json = False,
) -> int:
    """A run with its gates and artifacts, or one artifact; a batch with its children instead of gates."""
    sdk = reading(ctx)
    if run_id.startswith("quant://"):
        run_id, artifact = _addressed(run_id)
    if artifact is not None:
        return _show_artifact(sdk, check_run_id(run_id), artifact, path=path, as_json=as_json)
    result = sdk.status(check_run_id(run_id))
    gates = [(g["gate"], g["status"], g["errors"], g["warnings"], g["code"]) for g in result.gates]
    files = [(a["name"], a["path"], a["sha256"][:12], a["rows"], a["bytes"]) for a in result.artifacts]
    text = "\n\n".join([
        f"{_state_line(result.status)}\n{verdict_text(result)}",
        *_conflicts(sdk, run_id, result.artifacts),
        table(("gate", "result", "errors", "warnings", "code"), gates)
        if result.children is None
        else _children(sdk, run_id),
        table(("artifact", "path", "sha256", "rows", "bytes"), files),
    ])  # fmt: skip
    emit("run", run_document(result), text, as_json=as_json)
    return 0


@app.command()
def logs(
    ctx: typer.Context,
    run_id: str,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more until the run ends.")] = False,
    stage: Annotated[str | None, typer.Option("--stage", help="Only this stage.")] = None,
    level: Annotated[
        str, typer.Option("--level", help="This level and above: debug, info, warning, error or critical.")
    ] = "debug",
    as_json: Json = False,
) -> int:
    """Structured log lines of a run; each names its stage, trace and span."""
    if level.upper() not in LOG_LEVELS:
        hint = did_you_mean(level, [each.lower() for each in LOG_LEVELS])
        raise ConfigError("USAGE", f"unknown log level {level!r}{hint}", where="--level",
                          remedy="quantctl logs --help")  # fmt: skip
    sdk = reading(ctx)
    least = LOG_LEVELS.index(level.upper())
    seen = 0
    while True:
        ended = sdk.status(check_run_id(run_id)).state in TERMINAL
        lines = sdk.log_lines(run_id)
        fresh = [
            line
            for line in lines[seen:]
            if stage in (None, line.get("stage_id")) and line.get("level") in LOG_LEVELS[least:]
        ]
        seen = len(lines)
        _print_lines(fresh, as_json=as_json, follow=follow)
        if ended or not follow:
            return 0
        time.sleep(0.2)


@app.command()
def explain(ctx: typer.Context, run_id: str, symbol: str, as_json: Json = False) -> int:
    """Why a symbol of the snapshot is in or out of a run: stage, rule, value and limit that decided."""
    steps = reading(ctx).explain(check_run_id(run_id), symbol)
    if steps[0]["code"] == "SYMBOL_UNKNOWN":
        raise DataMissing(
            "SYMBOL_UNKNOWN", steps[0]["message"], where=run_id,
            remedy=f"quantctl show {run_id} candidates_funnel lists the symbols of the scan",
        )  # fmt: skip
    cells = [
        (s["stage"], s["rule"], s["verdict"], s["code"], _number(s["value"]), _number(s["limit"]))
        for s in steps
    ]
    emit("explain", {"run_id": run_id, "symbol": symbol, "steps": steps},
         table(("stage", "rule", "verdict", "code", "value", "limit"), cells), as_json=as_json)  # fmt: skip
    return 0


def _number(value: Any) -> str | None:
    return f"{value:.6g}" if isinstance(value, float) else None if value is None else str(value)


def _follow(ctx: typer.Context, run_id: str, *, quiet: bool) -> None:
    from quantctl.watch import Watch

    sdk = reading(ctx)
    watch = Watch(sdk.places, lambda: run_id, quiet=quiet)
    try:
        while sdk.status(run_id).state in ("QUEUED", "RUNNING"):
            watch()
            time.sleep(0.2)
    finally:
        watch.close()


def _addressed(uri: str) -> tuple[str, str]:
    from quantctl.contracts.errors import ConfigError
    from quantctl.contracts.uri import ArtifactUri, parse

    found = parse(uri)
    if not isinstance(found, ArtifactUri):
        raise ConfigError(
            "URI_INVALID", f"{uri!r} names a stage, not an artifact", remedy="quant://run/ID/path"
        )
    return found.run_id, found.path


def _show_artifact(sdk: Any, run_id: str, artifact: str, *, path: bool, as_json: bool) -> int:
    name, place = sdk.find_artifact(run_id, artifact)
    if path:
        emit("artifact", {"name": name, "path": str(place)}, str(place), as_json=as_json)
        return 0
    if place.suffix == ".parquet":
        return _show_frame(name, place, as_json=as_json)
    text = place.read_text()
    data: Any = json.loads(text) if place.suffix == ".json" else text
    pretty = json.dumps(data, indent=2, ensure_ascii=False) if place.suffix == ".json" else text
    if name == CONFLICTS:
        pretty = "\n\n".join(in_words(certificate) for certificate in data["certificates"])
    emit("artifact", {"name": name, "path": str(place), "value": data}, pretty, as_json=as_json)
    return 0


def _children(sdk: Any, run_id: str) -> str:
    """The children of a batch, first those that did not succeed; of many the first."""
    found = sorted(sdk.children(run_id), key=lambda child: child.state == "SUCCESS")
    cells = [(child.run_id, child.as_of, child.state, child.code) for child in found[:LISTED]]
    more = f"\n({len(found) - LISTED} more: quantctl list --parent {run_id})" if len(found) > LISTED else ""
    return table(("child", "as of", "state", "code"), cells) + more


def _conflicts(sdk: Any, run_id: str, artifacts: list[dict[str, Any]]) -> list[str]:
    """What no weights could meet, in words, if some risk profile was infeasible."""
    if not any(artifact["name"] == CONFLICTS for artifact in artifacts):
        return []
    recorded = json.loads(sdk.find_artifact(run_id, CONFLICTS)[1].read_text())
    return [in_words(certificate) for certificate in recorded["certificates"]]


def _show_frame(name: str, place: Any, *, as_json: bool) -> int:
    import duckdb

    cursor = duckdb.execute(
        "SELECT * FROM read_parquet(?) LIMIT ?", [str(place), 1_000_000 if as_json else 20]
    )
    columns = [column[0] for column in cursor.description]
    rows = cursor.fetchall()
    shown = columns[:8]
    text = table(shown, [row[:8] for row in rows])
    if len(columns) > 8:
        text += f"\n({len(columns)} columns; the first 8 are shown)"
    records = [dict(zip(columns, row, strict=True)) for row in rows] if as_json else []
    emit("artifact", {"name": name, "path": str(place), "value": records}, text, as_json=as_json)
    return 0


def _print_lines(lines: list[dict[str, Any]], *, as_json: bool, follow: bool) -> None:
    if as_json and not follow:
        emit("logs", lines, "", as_json=True)
        return
    for line in lines:
        print(
            json.dumps(line)
            if as_json
            else f"{line['ts']}  {line['level']:<7} {line['stage_id'] or '-'}  {line['msg']}"
        )


def _runs_table(found: list[RunStatus]) -> str:
    cells = [
        (
            run.run_id,
            run.profile,
            run.pipeline,
            run.state,
            run.stage,
            run.code,
            run.as_of,
            run.created_at[:19],
        )
        for run in found
    ]
    return table(("run", "profile", "pipeline", "state", "stage", "code", "as of", "created"), cells)


def _state_line(run: RunStatus) -> str:
    hints = {
        "INTERRUPTED": f"resume: quantctl resume {run.run_id}",
        "FAILED": f"retry: quantctl retry {run.run_id}",
        "RUNNING": f"worker {run.worker}; follow: quantctl status {run.run_id} --follow",
        "QUEUED": "a worker takes it: quantctl worker",
    }
    where = f" at {run.stage}" if run.stage else ""
    hint = hints.get(run.state)
    return f"{run.state}{where}, attempt {run.attempt}" + (f"; {hint}" if hint else "")
