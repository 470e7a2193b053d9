"""`audit atomic`, `audit sign-test` and `audit validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.errors import ConfigError, DataMissing
from quantctl.contracts.ids import check_run_id
from quantctl.contracts.nearest import did_you_mean
from quantctl.options import Json
from quantctl.output import document, print_json, table
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
    from quantctl.contracts.errors import QuantError
    from quantctl.lake.encoding import decode

    if schema not in ARTIFACTS:
        hint = did_you_mean(schema, ARTIFACTS)
        raise ConfigError("ARTIFACT_UNKNOWN", f"no artifact {schema!r}{hint}", where="--schema")
    if not path.is_file():
        raise DataMissing("ISOLATION_INPUT_MISSING", f"no file {path}", where=str(path))
    problem: dict[str, Any] | None = None
    try:
        decode(schema, path.read_bytes())
    except QuantError as found:
        problem = found.to_dict()
    if as_json:
        print_json(
            document("validate", {"path": str(path), "schema": schema, "problem": problem}, ok=not problem)
        )
    else:
        print(
            f"{'FAIL' if problem else 'PASS'}  {path}"
            + (f"\n{problem['code']}: {problem['message']}" if problem else "")
        )
    return 1 if problem else 0


def _print(found: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print_json(document("audit", found, ok=found["ok"]))
    else:
        cells = [
            (p["part"], p["status"], p["errors"], p["warnings"], p["code"], p["verdict"])
            for p in found["parts"]
        ]
        print(f"{'PASS' if found['ok'] else 'FAIL'}  {found['run_id']}\n")
        print(table(("part", "result", "errors", "warnings", "code", "verdict"), cells))
    return 0 if found["ok"] else 1
