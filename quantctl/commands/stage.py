"""`stage list`, `stage schema` and `stage run`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from quantctl.contracts.errors import ConfigError, error_from_dict
from quantctl.contracts.uri import StageUri, parse
from quantctl.options import AsOf, Json, Profile, Snapshot
from quantctl.output import emit, judged, table
from quantctl.session import reading

app = typer.Typer(no_args_is_help=True, help="List, describe and run single stages.")


@app.command(name="list")
def list_stages(
    ctx: typer.Context,
    tag: Annotated[str | None, typer.Option("--tag", help="Only stages of this tag.")] = None,
    category: Annotated[str | None, typer.Option("--category", help="Same as --tag.")] = None,
    as_json: Json = False,
) -> int:
    """Every registered stage, with what it is for."""
    found = reading(ctx).list_stages(tag or category)
    cells = [(s["id"], s["tag"], s["purpose"], ", ".join(s["gates"])) for s in found]
    emit("stages", found, table(("stage", "tag", "purpose", "gates"), cells), as_json=as_json)
    return 0


@app.command()
def schema(ctx: typer.Context, stage: str, as_json: Json = False) -> int:
    """JSON Schema of a stage's parameters, and the contracts of its inputs and outputs."""
    import json

    found = reading(ctx).stage_schema(_id(stage))
    emit("stage_schema", found, json.dumps(found, indent=2), as_json=as_json)
    return 0


@app.command()
def run(
    ctx: typer.Context,
    stage: Annotated[str, typer.Argument(help="Stage id, or quant://pipeline/stage?run_id=...&p.key=value.")],
    run_id: Annotated[str | None, typer.Option("--run-id", help="Take the inputs from this run.")] = None,
    profile: Profile = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", help="Settings key=value; repeatable.")
    ] = None,
    snapshot: Snapshot = "latest",
    as_of: AsOf = None,
    as_json: Json = False,
) -> int:
    """Run one stage by itself: on the artifacts of a run, or with every stage before it.

    The run it borrows from is not changed; outputs go to their own directory.
    """
    uri = parse(stage) if stage.startswith("quant://") else None
    params = dict(_pair(text) for text in param or [])
    if isinstance(uri, StageUri):
        run_id = uri.keys.get("run_id", run_id)
        profile = uri.keys.get("profile", profile)
        snapshot = uri.keys.get("snapshot", snapshot)
        params |= uri.params
    context = reading(ctx).run_stage(
        _id(stage), params=params, run_id=run_id, profile=profile, snapshot=snapshot, as_of=as_of
    )
    error = None if context["error"] is None else error_from_dict(context["error"])
    return judged("stage_run", context, _text(context), error, as_json=as_json)


def _id(stage: str) -> str:
    if not stage.startswith("quant://"):
        return stage
    found = parse(stage)
    if not isinstance(found, StageUri):
        raise ConfigError(
            "URI_INVALID", f"{stage!r} names an artifact, not a stage", remedy="quantctl show URI"
        )
    return found.stage_id


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError("STAGE_PARAM_INVALID", f"{text!r} is not key=value", where="--param")
    return key, value


def _text(context: dict[str, Any]) -> str:
    outputs = [(o["name"], o["path"], o["rows"], o["bytes"]) for o in context["outputs"]]
    findings = [(f["level"], f["code"], f["symbol"], f["message"]) for f in context["findings"][:20]]
    gates = [(g["gate"], g["status"], g["errors"], g["warnings"], g["code"]) for g in context["gates"]]
    parts = [f"{context['stage']}  {context['status']}  {context['directory']}"]
    if context["error"]:
        parts.append(f"error[{context['error']['code']}] {context['error']['message']}")
    parts.append(table(("artifact", "path", "rows", "bytes"), outputs))
    parts += [table(("gate", "result", "errors", "warnings", "code"), gates)] if gates else []
    parts += [table(("level", "code", "symbol", "finding"), findings)] if findings else []
    return "\n\n".join(parts)
