"""`demo`: offline, end to end, on a simulated market."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantctl.invocation import invocation
from quantctl.options import Json
from quantctl.output import document, print_json, table
from quantctl.session import Running, running

if TYPE_CHECKING:
    from quantctl.sdk import RunResult

app = typer.Typer(rich_markup_mode=None)

SLEEVES = ("binance_spot_rating_all_long", "binance_spot_rating_all_short")


@app.command()
def demo(
    ctx: typer.Context,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the simulated market.")] = 7,
    symbols: Annotated[int, typer.Option("--symbols", min=20, max=2000, help="How many symbols.")] = 120,
    days: Annotated[int, typer.Option("--days", min=400, help="How many days.")] = 800,
    keep: Annotated[
        bool, typer.Option("--keep/--no-keep", help="Keep what the demo made (else it is removed).")
    ] = True,
    as_json: Json = False,
) -> int:
    """Simulate a market, make its candidates, run the LONG and the SHORT sleeve, audit both.

    Everything happens offline below `<data dir>/demo`; the market is simulated and says so. Interrupt it
    and call it again: it goes on where it was.
    """
    root = Path(invocation(ctx).resolve().settings.paths.data_dir).resolve() / "demo"
    with running(ctx, None, quiet=as_json, data_dir=root) as held:
        tag = _tag(held, f"{seed}_{symbols}_{days}")
        snapshot = _market(held, tag, seed=seed, symbols=symbols, days=days)
        results = [_sleeve(held, profile, snapshot, tag) for profile in SLEEVES]
    if as_json:
        print_json(document("demo", results, ok=all(r["state"] == "SUCCESS" and r["audit"] for r in results)))
    else:
        print(_text(results, root))
    if not keep:
        import shutil

        shutil.rmtree(root)
    return max(int(result["exit_code"] or 0) for result in results)


def _tag(held: Running, size: str) -> str:
    """What the run ids end with: a number more where the state knows a demo whose directory is gone.

    A state database outside the demo's directory outlives it.
    """
    from quantctl.workflows import runs

    for number in itertools.count(1):
        tag = size if number == 1 else f"{size}_{number}"
        first = f"demo_simulate_{tag}"
        if held.sdk.places.run_root(first).is_dir() or runs.status(held.sdk.places, first) is None:
            break
    return tag


def _market(held: Running, tag: str, *, seed: int, symbols: int, days: int) -> str:
    """A published snapshot with the candidates of both sleeves; returns the as-of date."""
    size = {"seed": seed, "symbols": symbols, "days": days}
    _data(held, "data.simulate", f"demo_simulate_{tag}", size)
    _data(held, "data.features", f"demo_features_{tag}", {"all_symbols": True, "yes": True})
    _data(held, "data.audit", f"demo_audit_{tag}", {})
    for profile in SLEEVES:
        scanners = {"scanners": _scanners(held, profile)}
        _data(held, "data.candidates", f"demo_candidates_{profile}_{tag}", scanners, profile=profile)
    return str(held.sdk.newest_snapshot()["as_of"])


def _scanners(held: Running, profile: str) -> dict[str, Any]:
    """The resolved scanner definitions of a profile."""
    from quantctl.scanner_files import as_json, definitions

    settings = held.sdk.resolve(profile).settings
    return as_json(definitions(tuple(settings.discovery.scanners), Path(settings.paths.profiles_dir)))


def _data(
    held: Running, pipeline: str, run_id: str, arguments: dict[str, Any], profile: str | None = None
) -> RunResult:
    held.run_id = run_id
    request = held.sdk.request(pipeline, profile=profile, run_id=run_id, arguments=arguments)
    return _must_succeed(held.sdk.start(request))


def _sleeve(held: Running, profile: str, as_of: str, tag: str) -> dict[str, Any]:
    held.run_id = f"demo_{profile}_{tag}"
    request = held.sdk.request("alpha.full", profile=profile, run_id=held.run_id, as_of=as_of)
    result = _must_succeed(held.sdk.start(request))
    audit = held.sdk.audit(result.run_id)
    return {
        "run_id": result.run_id,
        "profile": profile,
        "state": result.state,
        "exit_code": result.exit_code if audit["ok"] else 1,
        "warnings": sum(gate["warnings"] for gate in result.gates),
        "audit": audit["ok"],
        "report": str(result.run_dir / "reports" / "portfolio" / "report.html"),
    }


def _must_succeed(result: RunResult) -> RunResult:
    if result.state != "SUCCESS":
        from quantctl.contracts.errors import GateFailed

        raise GateFailed(
            result.status.code or "INTERNAL", f"{result.run_id}: {result.status.message}",
            where=str(result.run_dir), remedy=result.remedy or f"quantctl status {result.run_id}",
            details={"run_id": result.run_id},
        )  # fmt: skip
    return result


def _text(results: list[dict[str, Any]], root: Path) -> str:
    cells = [
        (r["profile"], "PASS" if r["state"] == "SUCCESS" else r["state"], r["warnings"],
         "PASS" if r["audit"] else "FAIL", r["run_id"])
        for r in results
    ]  # fmt: skip
    reports = "\n".join(f"report  {r['report']}" for r in results)
    look = f"TV_DATA_DIR={root} quantctl"
    return "\n".join([
        "Both sleeves of a simulated market (not real data):", "",
        table(("profile", "run", "warnings", "audit", "run id"), cells), "", reports, "",
        "look further:", f"  {look} show {results[0]['run_id']}",
        f"  {look} sql \"SELECT symbol, net_weight FROM weights WHERE space = 'physical' LIMIT 10\"",
    ])  # fmt: skip
