"""`ledger show` and `ledger verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantctl.contracts.ids import check_run_id
from quantctl.options import Json, Limit, Since
from quantctl.output import emit, judged, table
from quantctl.session import reading

if TYPE_CHECKING:
    from quantctl.contracts.errors import QuantError

app = typer.Typer(no_args_is_help=True, help="Show and verify the audit ledger.")


@app.command()
def show(
    ctx: typer.Context,
    run_id: str,
    kind: Annotated[str | None, typer.Option("--type", help="Only records of this type.")] = None,
    step: Annotated[str | None, typer.Option("--step", help="Only records of this stage.")] = None,
    limit: Limit = None,
    since: Since = None,
    as_json: Json = False,
) -> int:
    """The records of a run in sequence."""
    found = list(reading(ctx).ledger(check_run_id(run_id), kind=kind, step=step, since=since))
    found = found[-limit:] if limit else found
    cells = [(r["seq"], r["ts"], r["type"], r["step"], r["status"], r["code"], r["hash"][:12]) for r in found]
    emit(
        "ledger",
        found,
        table(("seq", "ts", "type", "step", "status", "code", "hash"), cells),
        as_json=as_json,
    )
    return 0


@app.command()
def verify(
    ctx: typer.Context,
    run_ids: Annotated[list[str] | None, typer.Argument(help="Runs to verify.")] = None,
    head: Annotated[str | None, typer.Option("--head", help="Hash of the head as you know it.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run.")] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Of a batch, every child too, with its files.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Recompute chain, hashes and artifact bytes, of the state database and of `audit.jsonl`.

    Holds the row of the run, the artifact index and the manifest against the records as well. Tells apart
    what was edited, removed, inserted, reordered or cut, with the first bad line, and changed or missing
    artifacts, also those that a retry set aside. Exit 1 with the code of the first finding.
    A ledger that only its own head file vouches for is UNANCHORED. Of a batch, the chains of its children
    are held against the heads that it booked.
    """
    from quantctl.contracts.errors import ConfigError

    sdk, ids = reading(ctx), list(run_ids or [])
    if every == bool(ids) or (head is not None and len(ids) != 1):
        raise ConfigError(
            "USAGE",
            "name runs or give --all; --head goes with one run",
            remedy="quantctl ledger verify RUN_ID",
        )
    if recursive:
        ids += [child.run_id for run_id in list(ids) for child in sdk.children(check_run_id(run_id))]
    named = (sdk.verify_ledger(check_run_id(run_id), head=head) for run_id in ids)
    reports = list(sdk.verify_ledgers() if every else named)
    cells = [
        (r["run_id"], _verdict(r), r["records"], f and f["code"], f and f["message"])
        for r in reports
        for f in (r["findings"] or [None])
    ]
    text = table(("run", "verdict", "records", "code", "finding"), cells)
    return judged("ledger_verify", reports, text, _problem(reports), as_json=as_json)


def _verdict(report: dict[str, Any]) -> str:
    if not report["ok"]:
        return "BROKEN"
    return "ok" if report["anchored"] else "UNANCHORED"


def _problem(reports: list[dict[str, Any]]) -> QuantError | None:
    """The error of the first run whose ledger does not hold."""
    from quantctl.contracts.errors import GateFailed

    for report in reports:
        for finding in report["findings"]:
            if finding["level"] == "ERROR":
                run_id = report["run_id"]
                return GateFailed(
                    finding["code"], finding["message"], where=run_id,
                    remedy="restore the run's files from a copy, or quantctl ledger show for what the"
                    " database holds",
                    details={"run_id": run_id},
                )  # fmt: skip
    return None
