"""`report build` and `report open`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from quantctl.contracts.errors import ConfigError, error_from_dict
from quantctl.contracts.ids import check_run_id
from quantctl.options import Json
from quantctl.output import emit, judged
from quantctl.session import reading

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Build or open reports.")
KINDS = ("forensic", "validation")

Kind = Annotated[
    str, typer.Option("--kind", help="forensic or validation (tearsheets come with simulation).")
]


@app.command()
def build(ctx: typer.Context, run_id: str, kind: Kind = "forensic", as_json: Json = False) -> int:
    """Render the report of a run anew from its artifacts, beside the run; the run is not changed."""
    sdk = reading(ctx)
    stage = {"forensic": "report.forensic", "validation": "report.validation"}[_known(kind)]
    context = sdk.run_stage(stage, run_id=check_run_id(run_id))
    pages = [f"{context['directory']}/{output['path']}" for output in context["outputs"]]
    error = None if context["error"] is None else error_from_dict(context["error"])
    return judged("report", {"run_id": run_id, "pages": pages}, "\n".join(pages), error, as_json=as_json)


@app.command(name="open")
def open_report(ctx: typer.Context, run_id: str, kind: Kind = "forensic", as_json: Json = False) -> int:
    """Print where the report of a run lies; on a terminal, open it in the browser."""
    name = {"forensic": "report_html", "validation": "atomic_validation_md"}[_known(kind)]
    _, place = reading(ctx).find_artifact(check_run_id(run_id), name)
    emit("report", {"run_id": run_id, "pages": [str(place)]}, str(place), as_json=as_json)
    if sys.stdout.isatty() and not as_json:
        import webbrowser

        webbrowser.open(place.as_uri())
    return 0


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ConfigError("USAGE", f"unknown kind {kind!r}", where="--kind", remedy=", ".join(KINDS))
    return kind
