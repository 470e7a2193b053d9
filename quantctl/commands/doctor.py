"""`quantctl doctor` (alias `env-check`): is this installation fit to run?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantctl.contracts.errors import DataMissing
from quantctl.invocation import invocation
from quantctl.options import Json
from quantctl.output import emit, table

if TYPE_CHECKING:
    from quantctl.check import Check
    from quantctl.settings import Resolved
    from quantctl.workflows.runtime import Places

app = typer.Typer(rich_markup_mode=None)
Fix = Annotated[bool, typer.Option("--fix", help="Create directories, switch to WAL, remove orphans.")]
Network = Annotated[bool, typer.Option("--network", help="Ask the venues too.")]
StateUrl = Annotated[bool, typer.Option("--state-url", help="Print the URL of the state database only.")]

AdoptState = Annotated[
    bool, typer.Option("--adopt-state", help="Take the state database over from another data directory.")
]


@app.command("doctor")
@app.command("env-check", hidden=True)
def doctor(
    ctx: typer.Context,
    fix: Fix = False,
    network: Network = False,
    state_url: StateUrl = False,
    adopt_state: AdoptState = False,
    as_json: Json = False,
) -> None:
    """Check the installation: Python, packages, disk, state, worker, lake, environment."""
    from quantctl import checks, telemetry
    from quantctl.installation import places as places_of

    resolved = invocation(ctx).resolve()
    places = places_of(resolved.settings)
    if state_url:
        print(places.state_url)
        return
    if adopt_state:
        places.adopt_state()
    if fix:
        _mend(places)
    found = [*checks.all_checks(resolved.settings, places, Path.cwd()), _variables(resolved)]
    if network:
        telemetry.set_up()
        http = resolved.settings.data.http
        found += checks.network({
            "tradingview": http.tradingview_base_url,
            "binance spot": http.binance_spot_base_url,
            "binance usd-m": http.binance_usdm_base_url,
        })  # fmt: skip
        telemetry.flush()
    _judge(found, as_json)


def _judge(found: list[Check], as_json: bool) -> None:
    rows = [asdict(check) for check in found]
    failed = [check for check in found if check.status == "fail"]
    if not failed:
        emit("doctor", rows, _table(found), as_json=as_json)
        return
    if not as_json:
        print(_table(found))
    raise DataMissing(
        "DOCTOR_FAILED", f"{failed[0].name}: {failed[0].detail}", remedy=failed[0].remedy,
        details={"findings": rows},
    )  # fmt: skip


def _table(found: list[Check]) -> str:
    return table(
        ["check", "status", "detail", "remedy"], [(c.name, c.status, c.detail, c.remedy) for c in found]
    )


def _variables(resolved: Resolved) -> Check:
    from quantctl.check import Check

    if not resolved.warnings:
        return Check("variables", "ok", "no unknown TV_ variable")
    return Check(
        "variables", "warn", "; ".join(w.message for w in resolved.warnings), resolved.warnings[0].remedy
    )


def _mend(places: Places) -> None:
    from quantctl.housekeeping import collect_garbage

    for directory in (places.data_dir, places.lakehouse_dir, places.artifacts_dir):
        directory.mkdir(parents=True, exist_ok=True)
    places.open_state().dispose()
    collect_garbage(places)
