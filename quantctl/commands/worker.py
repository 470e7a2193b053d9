"""`worker`: a long-lived process that serves queued and interrupted runs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from quantctl.invocation import invocation

app = typer.Typer()


@app.command()
def worker(
    ctx: typer.Context,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Runs at once here.")] = 1,
    drain_seconds: Annotated[
        float, typer.Option("--drain-seconds", min=0, help="What the current stage gets after SIGTERM.")
    ] = 30.0,
) -> int:
    """Serve queued and interrupted runs, oldest first, until SIGTERM; then drain and exit 0.

    With the state in SQLite there is one worker. With Postgres start as many as you like, on any machine
    that sees the same data directory: each prints its id, and takes over the runs of one that dies after
    orchestration.lease_seconds. orchestration.max_runs limits the runs of all of them together.
    Workers also fire the schedules that `quantctl schedule apply` has put in force.
    """
    from quantctl import installation, scheduling, telemetry
    from quantctl.contracts.errors import ConfigError
    from quantctl.sdk import QuantSDK
    from quantctl.signals import stop_on_signal
    from quantctl.workflows.serving import serve
    from quantctl.workflows.worker import refuse_stray_database

    given = invocation(ctx)
    settings = given.resolve().settings
    refuse_stray_database(Path.cwd())
    limits = replace(installation.limits(settings), parallel=concurrency, grace_seconds=drain_seconds)
    stop = stop_on_signal()
    telemetry.set_up()
    sdk = QuantSDK(overrides=given.overrides, config=given.config)
    places = installation.places(settings)
    announce = partial(print, flush=True)
    if not serve(places, limits, stop, announce=announce, build=partial(scheduling.build, sdk)):
        raise ConfigError("WORKER_BUSY", "another process holds the worker lock", remedy="quantctl status")
    print("drained; nothing lost", flush=True)
    telemetry.flush()
    return 0
