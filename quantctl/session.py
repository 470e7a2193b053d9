"""An SDK wired to one command line: its settings, its signals, its progress display."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from quantctl import telemetry
from quantctl.contracts.errors import EnvironmentFault
from quantctl.invocation import invocation
from quantctl.sdk import QuantSDK, RunResult
from quantctl.signals import stop_on_signal
from quantctl.watch import Watch


def reading(ctx: typer.Context) -> QuantSDK:
    """An SDK for commands that only read."""
    given = invocation(ctx)
    sdk = QuantSDK(overrides=given.overrides, config=given.config)
    for warning in sdk.base.warnings:
        print(f"warning[{warning.code}] {warning}", file=sys.stderr)
    return sdk


class Running:
    """An SDK for a command that executes or follows runs, with its watch."""

    def __init__(self, sdk: QuantSDK) -> None:
        self.sdk = sdk
        self.run_id: str | None = None


@contextmanager
def running(
    ctx: typer.Context, run_id: str | None, *, quiet: bool, data_dir: Path | None = None
) -> Iterator[Running]:
    """Signals stop at the next stage boundary; progress goes to stderr; where to go on is said on stdout.

    data_dir : keep everything there instead of where the settings say
    """
    given = invocation(ctx)
    telemetry.set_up()
    placed = (f"paths.data_dir={data_dir}",) if data_dir is not None else ()
    sdk = QuantSDK(overrides=(*given.overrides, *placed), config=given.config, stop=stop_on_signal(run_id))
    held = Running(sdk)
    held.run_id = run_id
    watch = Watch(sdk.places, lambda: held.run_id, quiet=quiet)
    sdk.watch = watch
    try:
        yield held
    except EnvironmentFault as fault:
        fault.run_id = held.run_id
        watch.close()
        if not quiet:
            print(_parting(fault, held.run_id))
        raise
    finally:
        watch.close()
        telemetry.flush()


def _parting(fault: EnvironmentFault, run_id: str | None) -> str:
    if fault.code == "DETACHED":
        return f"still running; follow: quantctl status {run_id} --follow"
    return f"{fault.message}\nresume: quantctl resume {run_id}"


def verdict_text(result: RunResult) -> str:
    """The last lines of a run for a person: verdict, warnings, directory."""
    status = result.status
    warnings = sum(gate["warnings"] for gate in result.gates)
    failed = [gate["gate"] for gate in result.gates if gate["status"] == "FAIL"]
    verdict = {"SUCCESS": "PASS", "FAILED": "FAIL"}.get(result.state, result.state)
    if verdict == "PASS" and warnings:
        verdict = f"PASS ({warnings} warnings)"
    lines = [f"{verdict}  {result.run_id}"]
    if status.code:
        lines.append(f"code     {status.code}: {status.message}")
    if failed:
        lines.append(f"gates    {', '.join(failed)}")
    if status.pipeline.startswith("data."):
        lines += [
            f"{stage.partition('.')[2]:<8} {_told(metrics)}"
            for stage, metrics in result.metrics.items()
            if metrics
        ]
    if result.children is not None:
        lines.append(f"children {result.children.words()}")
    lines.append(f"run dir  {result.run_dir}")
    report = result.run_dir / "reports" / "portfolio" / "report.html"
    if report.exists():
        lines.append(f"report   {report}")
    return "\n".join(lines)


def _told(metrics: dict[str, Any]) -> str:
    """Metrics as `name value` pairs."""
    return ", ".join(f"{name} {_value(value)}" for name, value in metrics.items() if value != {})


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={inner}" for key, inner in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def run_document(result: RunResult) -> dict[str, object]:
    """The JSON form of a run."""
    return {
        **result.status.__dict__,
        "run_dir": str(result.run_dir),
        "gates": result.gates,
        "artifacts": result.artifacts,
        "metrics": result.metrics,
        **({"children": result.children.document()} if result.children is not None else {}),
    }
