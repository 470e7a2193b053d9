"""`audit atomic`, `audit sign-test` and `audit validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.errors import ConfigError, DataMissing, GateFailed, QuantError
from quantctl.contracts.ids import check_run_id
from quantctl.contracts.nearest import did_you_mean
from quantctl.options import Json
from quantctl.output import judged, table
from quantctl.session import reading

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Audit a run without changing it.")

ProfileCheck = Annotated[
    str | None, typer.Option("--profile", help="Fail unless the run is of this profile.")
]


@app.command()
def atomic(ctx: typer.Context, run_id: str, profile: ProfileCheck = None, as_json: Json = False) -> int:
    """Recompute sign tests, ledger verification and validation from the files of a run."""
    from quantctl.auditing import audit

    return _print(audit(reading(ctx), check_run_id(run_id), profile=profile), as_json)


@app.command(name="atomic-audit")
def atomic_audit(ctx: typer.Context, run_id: str, profile: ProfileCheck = None, as_json: Json = False) -> int:
    """Alias of `audit atomic`."""
    return atomic(ctx, run_id, profile, as_json)


@app.command(name="sign-test")
def sign_test(
    ctx: typer.Context,
    run_id: str,
    phase: Annotated[str, typer.Option("--phase", help="pre, post or both.")] = "both",
    as_json: Json = False,
) -> int:
    """Recompute the directional sign tests of a run."""
    from quantctl.auditing import sign_tests

    if phase not in ("pre", "post", "both"):
        hint = did_you_mean(phase, ("pre", "post", "both"))
        raise ConfigError(
            "USAGE", f"unknown phase {phase!r}{hint}", where="--phase", remedy="pre, post or both"
        )
    return _print(sign_tests(reading(ctx), check_run_id(run_id), phase), as_json)


@app.command()
def validate(
    path: Path,
    schema: Annotated[str, typer.Option("--schema", help="Name of the artifact whose contract applies.")],
    as_json: Json = False,
) -> int:
    """Hold one file to the contract of an artifact."""
    from quantctl.lake.encoding import decode

    if schema not in ARTIFACTS:
        hint = did_you_mean(schema, ARTIFACTS)
        raise ConfigError("ARTIFACT_UNKNOWN", f"no artifact {schema!r}{hint}", where="--schema")
    if not path.is_file():
        raise DataMissing("ISOLATION_INPUT_MISSING", f"no file {path}", where=str(path))
    problem: QuantError | None = None
    try:
        decode(schema, path.read_bytes())
    except QuantError as found:
        remedy = found.remedy or f"write it as the contract of {schema} asks"
        problem = GateFailed(found.code, found.message, where=str(path), remedy=remedy)
    data = {"path": str(path), "schema": schema, "problem": problem.to_dict() if problem else None}
    return judged("validate", data, f"{'FAIL' if problem else 'PASS'}  {path}", problem, as_json=as_json)


def _print(found: dict[str, Any], as_json: bool) -> int:
    cells = [
        (p["part"], p["status"], p["errors"], p["warnings"], p["code"], p["verdict"]) for p in found["parts"]
    ]
    head = f"{'PASS' if found['ok'] else 'FAIL'}  {found['run_id']}"
    text = f"{head}\n\n{table(('part', 'result', 'errors', 'warnings', 'code', 'verdict'), cells)}"
    return judged("audit", found, text, _problem(found), as_json=as_json)


def _problem(found: dict[str, Any]) -> QuantError | None:
    """The error of the first part that failed."""
    bad = next((part for part in found["parts"] if part["errors"]), None)
    if bad is None:
        return None
    return GateFailed(
        bad["code"], f"{bad['part']} has {bad['errors']} errors", where=bad["verdict"],
        remedy=f"quantctl show {found['run_id']} {bad['verdict']}",
        details={"run_id": found["run_id"], "artifact": bad["verdict"]},
    )  # fmt: skip
