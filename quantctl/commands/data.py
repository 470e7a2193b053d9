"""`quantctl data ...`: import, simulate, check, scan and publish market data."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from quantctl.commands.data_look import coverage_app, health_app, scanners_app
from quantctl.commands.data_options import AsOf, Json, ProfileName, RunId, day, execute, pairs
from quantctl.contracts.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Import, simulate, check and publish market data.")
app.add_typer(scanners_app, name="scanners")
app.add_typer(coverage_app, name="coverage")
app.add_typer(health_app, name="health")

Scope = Annotated[str | None, typer.Option("--scope", help="Run id of the import that is the scope.")]
CandidatesFile = Annotated[
    Path | None, typer.Option("--candidates", help="Candidates file that is the scope.")
]
AllSymbols = Annotated[bool, typer.Option("--all-symbols", help="The whole lakehouse; needs --yes.")]
Yes = Annotated[bool, typer.Option("--yes", help="Confirm --all-symbols.")]
AllowEmpty = Annotated[bool, typer.Option("--allow-empty", help="Nothing to compute is no failure.")]


def _run(
    ctx: typer.Context, pipeline: str, request: Any, profile: str | None, run_id: str | None, as_json: bool
) -> int:
    return execute(ctx, pipeline, request.model_dump(mode="json"), profile, run_id, as_json)


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
        "paths": [str(path.absolute()) for path in paths], "table": table, "exchange": exchange,
        "calendar": calendar,
        "mapping": pairs(maps), "close_only": close_only, "as_of": day(as_of), "strict": strict,
        "known_at": known_at, "valid_from": day(valid_from), "reason": reason,
        "scanners": as_json(definitions(names)),
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
        start=day(start) or date(2023, 1, 1),
        calendar=calendar,
        exchange=exchange,
    )
    return _run(ctx, "data.simulate", request, profile, run_id, json_)


def _scope_request(
    scope: str | None, candidates: Path | None, all_symbols: bool, yes: bool, allow_empty: bool
) -> Any:
    from quantctl.workflows.dataops.requests import ScopeRequest

    symbols = None
    if candidates is not None:
        from quantctl.lake.sources.files import read_records

        symbols = tuple(str(row["symbol"]) for row in read_records(candidates)[0])
    return ScopeRequest(
        scope_run_id=scope, symbols=symbols, all_symbols=all_symbols, yes=yes, allow_empty=allow_empty
    )


@app.command()
def features(
    ctx: typer.Context,
    scope: Scope = None,
    candidates_file: CandidatesFile = None,
    all_symbols: AllSymbols = False,
    yes: Yes = False,
    allow_empty: AllowEmpty = False,
    profile: ProfileName = None,
    run_id: RunId = None,
    json_: Json = False,
) -> int:
    """Compute features from stored bars for a stated scope."""
    request = _scope_request(scope, candidates_file, all_symbols, yes, allow_empty)
    return _run(ctx, "data.features", request, profile, run_id, json_)


@app.command()
def run(
    ctx: typer.Context,
    profile: ProfileName = None,
    as_of: AsOf = None,
    scope: Scope = None,
    candidates_file: CandidatesFile = None,
    all_symbols: AllSymbols = False,
    yes: Yes = False,
    allow_empty: AllowEmpty = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Replace candidates that are there.")] = False,
    run_id: RunId = None,
    json_: Json = False,
) -> int:
    """The cycle over bars in the lakehouse: features, audit, candidates, metadata, publish.

    It uses no network. Bring bars first: `data import` or `data simulate`; stages that fetch from a
    venue (discover, ingest, repair) are not part of this version.
    """
    from quantctl.data_cycle import cycle

    found = _candidates_request(ctx, profile, as_of, None, refresh)
    scoped = _scope_request(scope, candidates_file, all_symbols, yes, allow_empty)
    return execute(ctx, "data.full", cycle(scoped, found), profile, run_id, json_)


@app.command()
def metadata(
    ctx: typer.Context,
    path: Annotated[Path | None, typer.Argument(help="An exchangeInfo reply to import first.")] = None,
    exchange: Annotated[str | None, typer.Option(help="Exchange of that file.")] = None,
    valid_from: Annotated[str | None, typer.Option(help="Its rules are valid from this date.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why --valid-from moves the date.")] = None,
    as_of: AsOf = None,
    profile: ProfileName = None,
    run_id: RunId = None,
    json_: Json = False,
) -> int:
    """How complete instrument rules are; with PATH, import them (as `data import --table instruments`)."""
    from quantctl.workflows.dataops.requests import ImportRequest, PlainRequest

    if path is None:
        return _run(ctx, "data.metadata", PlainRequest(as_of=day(as_of)), profile, run_id, json_)
    request = ImportRequest(
        paths=(str(path.absolute()),), table="instruments", exchange=exchange, valid_from=day(valid_from),
        reason=reason,
    )  # fmt: skip
    return _run(ctx, "data.import", request, profile, run_id, json_)


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

    return _run(ctx, "data.audit", PlainRequest(as_of=day(as_of)), profile, run_id, json_)


def _candidates_request(
    ctx: typer.Context, profile: str | None, as_of: str | None, snapshot: str | None, refresh: bool
) -> Any:
    from quantctl.data_cycle import candidates
    from quantctl.invocation import invocation

    settings = invocation(ctx).resolve(profile, require_profile=True).settings
    return candidates(settings, as_of=day(as_of), snapshot=snapshot, refresh=refresh)


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

    return _run(ctx, "data.publish", CandidatesRequest(scanners={}, as_of=day(as_of)), profile, run_id, json_)
