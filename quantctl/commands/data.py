"""`quantctl data ...`: import, simulate, check, scan and publish market data."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from quantctl.contracts.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Import, simulate, check and publish market data.")
scanners_app = typer.Typer(no_args_is_help=True, help="Scanner definitions.")
coverage_app = typer.Typer(no_args_is_help=True, help="Coverage of DataOps runs.")
app.add_typer(scanners_app, name="scanners")
app.add_typer(coverage_app, name="coverage")

AsOf = Annotated[str | None, typer.Option("--as-of", help="Date of the decision, YYYY-MM-DD.")]
RunId = Annotated[str | None, typer.Option("--run-id", help="Id of the DataOps run.")]
ProfileName = Annotated[
    str | None, typer.Option("--profile", help="Profile whose settings apply.", envvar="TV_PROFILE")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            "CONFIG_TYPE", f"{text!r} is not a date", where="--as-of", remedy="write YYYY-MM-DD"
        ) from None


def _pairs(maps: list[str]) -> dict[str, str]:
    broken = [entry for entry in maps if "=" not in entry]
    if broken:
        raise ConfigError("IMPORT_COLUMNS", f"--map {broken[0]!r} is not field=column", where="--map")
    return dict(entry.split("=", 1) for entry in maps)


def _run(
    ctx: typer.Context, pipeline: str, request: Any, profile: str | None, run_id: str | None, as_json: bool
) -> int:
    """Execute a DataOps pipeline durably; returns its exit code."""
    from quantctl.commands.runs import finish
    from quantctl.contracts.ids import check_run_id
    from quantctl.session import running

    chosen = check_run_id(run_id) if run_id else None
    with running(ctx, chosen, quiet=as_json) as held:
        arguments = request.model_dump(mode="json")
        started = held.sdk.request(pipeline, profile=profile, run_id=chosen, arguments=arguments)
        held.run_id = started.run_id
        return finish(held.sdk.start(started), as_json)


@app.command("import")
def import_(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Parquet, CSV, kline JSON or kline zip files.")],
    table: Annotated[str, typer.Option(help="bars_1d, candidates or instruments.")] = "bars_1d",
    exchange: Annotated[str | None, typer.Option(help="Prefix of symbols that have none.")] = None,
    calendar: Annotated[str | None, typer.Option(help="Calendar of all symbols.")] = None,
    maps: Annotated[list[str], typer.Option("--map", help="field=column, repeatable.")] = [],  # noqa: B006
    close_only: Annotated[bool, typer.Option("--close-only", help="The source has closes only.")] = False,
    as_of: AsOf = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Conflicting or invalid rows stop the import.")
    ] = False,
    known_at: Annotated[
        str, typer.Option(help="session: known from its close; now: from this import.")
    ] = "session",
    valid_from: Annotated[str | None, typer.Option(help="Instruments: valid from this date.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why --valid-from moves the date.")] = None,
    profile: ProfileName = None,
    run_id: RunId = None,
    json_: Json = False,
) -> int:
    """Import bars, instrument rules or candidates from files; one commit, all or nothing."""
    from quantctl.scanner_files import as_json, definitions, documents
    from quantctl.workflows.dataops.requests import ImportRequest

    names = (
        tuple(n for n, d in documents().items() if not d.value.get("abstract"))
        if table == "candidates"
        else ()
    )
    body = {
        "paths": [str(path.absolute()) for path in paths], "table": table, "exchange": exchange, "calendar": calendar,
        "mapping": _pairs(maps), "close_only": close_only, "as_of": _day(as_of), "strict": strict,
        "known_at": known_at, "valid_from": _day(valid_from), "reason": reason, "scanners": as_json(definitions(names)),
    }  # fmt: skip
    if table not in ("bars_1d", "candidates", "instruments") or known_at not in ("session", "now"):
        raise ConfigError(
            "CONFIG_TYPE", "--table is bars_1d, candidates or instruments; --known-at session or now"
        )
    return _run(ctx, "data.import", ImportRequest.model_validate(body), profile, run_id, json_)


@app.command()
def simulate(
    ctx: typer.Context,
    seed: Annotated[int, typer.Option(help="Seed of the market.")] = 7,
    symbols: Annotated[int, typer.Option(help="Number of symbols, 12 to 2000.")] = 120,
    days: Annotated[int, typer.Option(help="Sessions, 60 to 5000.")] = 800,
    start: Annotated[str, typer.Option(help="First date.")] = "2023-01-01",
    calendar: Annotated[str, typer.Option(help="Calendar code.")] = "24x7",
    exchange: Annotated[str, typer.Option(help="Exchange prefix.")] = "BINANCE",
    profile: ProfileName = None,
    run_id: RunId = None,
    json_: Json = False,
) -> int:
    """Make a simulated market, deterministic by seed, and publish it."""
    from quantctl.workflows.dataops.requests import SimulateRequest

    request = SimulateRequest(
        seed=seed,
        symbols=symbols,
        days=days,
        start=_day(start) or date(2023, 1, 1),
        calendar=calendar,
        exchange=exchange,
    )
    return _run(ctx, "data.simulate", request, profile, run_id, json_)


@app.command()
def features(
    ctx: typer.Context,
    scope: Annotated[
        str | None, typer.Option("--scope", help="Run id of the import that is the scope.")
    ] = None,
    candidates_file: Annotated[
        Path | None, typer.Option("--candidates", help="Candidates file that is the scope.")
    ] = None,
    all_symbols: Annotated[
        bool, typer.Option("--all-symbols", help="The whole lakehouse; needs --yes.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm --all-symbols.")] = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Nothing to compute is no failure.")
    ] = False,
    profile: ProfileName = None,
    run_id: RunId = None,
    json_: Json = False,
) -> int:
    """Compute features from stored bars for a stated scope."""
    from quantctl.workflows.dataops.requests import ScopeRequest

    symbols = None
    if candidates_file is not None:
        from quantctl.lake.sources.files import read_records

        symbols = tuple(str(row["symbol"]) for row in read_records(candidates_file)[0])
    request = ScopeRequest(
        scope_run_id=scope, symbols=symbols, all_symbols=all_symbols, yes=yes, allow_empty=allow_empty
    )
    return _run(ctx, "data.features", request, profile, run_id, json_)


@app.command()
def audit(
    ctx: typer.Context,
    as_of: AsOf = None,
    profile: ProfileName = None,
    run_id: RunId = None,
    json_: Json = False,
) -> int:
    """Judge the health of every symbol with bars and record what changed."""
    from quantctl.workflows.dataops.requests import PlainRequest

    return _run(ctx, "data.audit", PlainRequest(as_of=_day(as_of)), profile, run_id, json_)


def _candidates_request(
    ctx: typer.Context, profile: str | None, as_of: str | None, snapshot: str | None, refresh: bool
) -> Any:
    from quantctl.invocation import invocation
    from quantctl.scanner_files import as_json, definitions
    from quantctl.workflows.dataops.requests import CandidatesRequest

    settings = invocation(ctx).resolve(profile, require_profile=True).settings
    found = as_json(definitions(tuple(settings.discovery.scanners), Path(settings.paths.profiles_dir)))
    return CandidatesRequest(scanners=found, as_of=_day(as_of), snapshot=snapshot, refresh=refresh)


@app.command()
def candidates(
    ctx: typer.Context,
    profile: ProfileName = None,
    as_of: AsOf = None,
    snapshot: Annotated[str | None, typer.Option(help="Snapshot to scan; the newest version.")] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Replace rows that are there already.")] = False,
    run_id: RunId = None,
    json_: Json = False,
) -> int:
    """Evaluate the profile's scanners over the lakehouse at a date, and publish the rows."""
    return _run(
        ctx,
        "data.candidates",
        _candidates_request(ctx, profile, as_of, snapshot, refresh),
        profile,
        run_id,
        json_,
    )


@app.command()
def publish(
    ctx: typer.Context,
    profile: ProfileName = None,
    as_of: AsOf = None,
    run_id: RunId = None,
    json_: Json = False,
) -> int:
    """Make the newest version of the lakehouse `latest`."""
    from quantctl.workflows.dataops.requests import CandidatesRequest

    return _run(
        ctx, "data.publish", CandidatesRequest(scanners={}, as_of=_day(as_of)), profile, run_id, json_
    )


@scanners_app.command("list")
def scanners_list(json_: Json = False) -> None:
    """Names of all scanners."""
    import json

    from quantctl.scanner_files import documents

    names = sorted(documents())
    typer.echo(json.dumps({"schema_version": 1, "scanners": names}) if json_ else "\n".join(names))


@scanners_app.command("show")
def scanners_show(
    name: str,
    resolved: Annotated[bool, typer.Option("--resolved", help="With everything inherited.")] = False,
) -> None:
    """One scanner definition as JSON."""
    import json

    from quantctl.scanner_files import documents
    from quantctl.steps.l1_ingestion.scanner import resolve

    known = documents()
    definition = resolve(name, known)
    value = definition.model_dump(mode="json") if resolved else dict(known[name].value)
    typer.echo(
        json.dumps(
            {"schema_version": 1, "name": name, "sha256": definition.sha256(), "definition": value}, indent=2
        )
    )


@coverage_app.command("show")
def coverage_show(ctx: typer.Context, run_id: str) -> None:
    """The coverage artifacts of a DataOps run, as JSON."""
    import json

    from quantctl.contracts.ids import check_run_id
    from quantctl.session import reading

    folder = (
        reading(ctx).places.artifacts_dir
        / "summaries"
        / "runs"
        / check_run_id(run_id)
        / "reports"
        / "coverage"
    )
    found = {path.stem: json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))}
    if not found:
        raise ConfigError("RUN_NOT_FOUND", f"run {run_id} has no coverage artifact", remedy="quantctl list")
    typer.echo(
        json.dumps({"schema_version": 1, "run_id": run_id, "coverage": found}, indent=2, sort_keys=True)
    )


@app.command()
def health(
    ctx: typer.Context,
    symbol: Annotated[str | None, typer.Argument(help="One symbol; all if absent.")] = None,
    status: Annotated[str | None, typer.Option(help="Only this status.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Every event, not only the last.")] = False,
    limit: Annotated[int, typer.Option(help="Most rows.")] = 200,
    json_: Json = False,
) -> None:
    """The health registry: the last event per symbol and code."""
    import json

    from quantctl.lake.snapshot import Lake
    from quantctl.session import reading

    rows = Lake(reading(ctx).places.lakehouse_dir).snapshot(committed=True).table("health_events")
    rows = rows.sort("symbol", "code", "known_at", "event_id")
    if not history:
        rows = rows.unique(["symbol", "code"], keep="last", maintain_order=True)
    chosen = [
        row for row in rows.iter_rows(named=True)
        if (symbol is None or row["symbol"] == symbol) and (status is None or row["status"] == status)
    ][:limit]  # fmt: skip
    if json_:
        plain = [
            {k: v.isoformat() if isinstance(v, (date, datetime)) else v for k, v in row.items()}
            for row in chosen
        ]
        typer.echo(json.dumps({"schema_version": 1, "health": plain}))
        return
    for row in chosen:
        typer.echo(
            f"{row['symbol']:<28} {row['status']:<14} {row['code']:<18} {row['value']} {row['session_date']}"
        )
