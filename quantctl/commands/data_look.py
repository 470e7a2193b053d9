"""What the data commands show: scanners, coverage and the health registry; and how findings are cleared."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from quantctl.commands.data_options import Json, ProfileName, RunId, execute
from quantctl.contracts.canonical import parse_strict
from quantctl.contracts.errors import ConfigError
from quantctl.output import emit, table


class _ShownByDefault(TyperGroup):
    """`data health [SYMBOL]` is `data health show [SYMBOL]`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else ["show", *args])


scanners_app = typer.Typer(no_args_is_help=True, help="Scanner definitions.")
coverage_app = typer.Typer(no_args_is_help=True, help="Coverage of DataOps runs.")
health_app = typer.Typer(cls=_ShownByDefault, help="The health registry.")


@scanners_app.command("list")
def scanners_list(json_: Json = False) -> None:
    """Names of all scanners."""
    from quantctl.scanner_files import documents

    names = sorted(documents())
    emit("data.scanners", names, "\n".join(names), as_json=json_)


@scanners_app.command("show")
def scanners_show(
    name: str,
    resolved: Annotated[bool, typer.Option("--resolved", help="With everything inherited.")] = False,
    json_: Json = False,
) -> None:
    """One scanner definition, with the hash that candidates carry."""
    import yaml

    from quantctl.scanner_files import documents
    from quantctl.steps.l1_ingestion.scanner import resolve

    known = documents()
    definition = resolve(name, known)
    value = definition.model_dump(mode="json") if resolved else dict(known[name].value)
    data = {"name": name, "sha256": definition.sha256(), "definition": value}
    text = f"# {name}  sha256 {data['sha256']}\n{yaml.safe_dump(value, sort_keys=False).rstrip()}"
    emit("data.scanner", data, text, as_json=json_)


@coverage_app.command("show")
def coverage_show(ctx: typer.Context, run_id: str, json_: Json = False) -> None:
    """The coverage of a DataOps run: what each stage expected, and what it got."""
    from quantctl.contracts.ids import check_run_id
    from quantctl.session import reading

    folder = reading(ctx).places.run_root(check_run_id(run_id)) / "reports" / "coverage"
    found = {path.stem: parse_strict(path.read_bytes()) for path in sorted(folder.glob("*.json"))}
    if not found:
        raise ConfigError("RUN_NOT_FOUND", f"run {run_id} has no coverage artifact", remedy="quantctl list")
    columns = ("stage", "source", "expected", "covered", "coverage", "status")
    rows = [[entry[column] for column in columns] for entry in found.values()]
    failed = [f"{entry['stage']}: {symbol}" for entry in found.values() for symbol in entry["failed_symbols"]]
    text = "\n".join([table(columns, rows), *(f"failed  {line}" for line in failed)])
    emit("data.coverage", {"run_id": run_id, "coverage": found}, text, as_json=json_)


@health_app.command("show")
def health_show(
    ctx: typer.Context,
    symbol: Annotated[str | None, typer.Argument(help="One symbol; all if absent.")] = None,
    status: Annotated[str | None, typer.Option(help="Only this status.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Every event, not only the last.")] = False,
    limit: Annotated[int, typer.Option(help="Most rows.")] = 200,
    json_: Json = False,
) -> None:
    """The health registry: the last event per symbol and code."""
    from quantctl.lake.snapshot import Lake
    from quantctl.session import reading

    rows = Lake(reading(ctx).places.lakehouse_dir).snapshot(committed=True).table("health_events")
    rows = rows.sort("symbol", "code", "known_at", "event_id")
    if not history:
        rows = rows.unique(["symbol", "code"], keep="last", maintain_order=True)
    chosen = [
        row for row in rows.iter_rows(named=True)
        if (symbol is None or row["symbol"] == symbol) and (status is None or row["status"] == status)
    ]  # fmt: skip
    columns = ("symbol", "status", "code", "value", "session_date")
    text = table(columns, [[row[column] for column in columns] for row in chosen[:limit]])
    if len(chosen) > limit:
        text += f"\n... {len(chosen) - limit} more; --limit {len(chosen)} shows them"
    plain = [
        {key: value.isoformat() if isinstance(value, date) else value for key, value in row.items()}
        for row in chosen[:limit]
    ]
    emit("data.health", plain, text, as_json=json_)


@health_app.command("clear")
def health_clear(
    ctx: typer.Context,
    symbol: Annotated[str, typer.Argument(help="The symbol whose finding is cleared.")],
    code: Annotated[str, typer.Option("--code", help="Code of the finding.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in at least 10 characters.")],
    actor: Annotated[str, typer.Option("--actor", help="Who answers for it.")],
    profile: ProfileName = None,
    run_id: RunId = None,
    json_: Json = False,
) -> int:
    """Answer for a finding of a symbol: its bars so far no longer count for that code."""
    if len(reason.strip()) < 10 or not actor.strip():
        raise ConfigError(
            "USAGE", "a clearance needs a reason of at least 10 characters and an actor", where="--reason",
            remedy="say why the finding is no defect, and who says so",
        )  # fmt: skip
    arguments = {"symbol": symbol, "code": code, "reason": reason, "actor": actor}
    return execute(ctx, "data.clear", arguments, profile, run_id, json_)
