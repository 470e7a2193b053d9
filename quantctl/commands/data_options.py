"""Options of the data commands, and how they execute their pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

import typer

from quantctl.contracts.errors import ConfigError

AsOf = Annotated[str | None, typer.Option("--as-of", help="Date of the decision, YYYY-MM-DD.")]
RunId = Annotated[str | None, typer.Option("--run-id", help="Id of the DataOps run.")]
ProfileName = Annotated[
    str | None, typer.Option("--profile", help="Profile whose settings apply.", envvar="TV_PROFILE")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def day(text: str | None) -> date | None:
    """A date from YYYY-MM-DD; `CONFIG_TYPE` (exit 2) otherwise."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            "CONFIG_TYPE", f"{text!r} is not a date", where="--as-of", remedy="write YYYY-MM-DD"
        ) from None


def pairs(maps: list[str]) -> dict[str, str]:
    """`field=column` options as a mapping; `IMPORT_COLUMNS` (exit 2) otherwise."""
    broken = [entry for entry in maps if "=" not in entry]
    if broken:
        raise ConfigError("IMPORT_COLUMNS", f"--map {broken[0]!r} is not field=column", where="--map")
    return dict(entry.split("=", 1) for entry in maps)


def execute(
    ctx: typer.Context,
    pipeline: str,
    arguments: Mapping[str, Any],
    profile: str | None,
    run_id: str | None,
    as_json: bool,
) -> int:
    """Execute a DataOps pipeline durably; returns its exit code."""
    from quantctl.commands.runs import finish
    from quantctl.contracts.ids import check_run_id
    from quantctl.session import running

    chosen = check_run_id(run_id) if run_id else None
    with running(ctx, chosen, quiet=as_json) as held:
        started = held.sdk.request(pipeline, profile=profile, run_id=chosen, arguments=arguments)
        held.run_id = started.run_id
        return finish(held.sdk.start(started), as_json)
