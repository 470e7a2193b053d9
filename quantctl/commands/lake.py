"""`quantctl lake`: snapshots, commits and integrity of the lakehouse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from quantctl.contracts.errors import DataMissing
from quantctl.invocation import invocation
from quantctl.lake.log import Entry, Log
from quantctl.options import Json, Limit
from quantctl.output import emit, table

app = typer.Typer(
    help="Snapshots, history and integrity of the lakehouse.", no_args_is_help=True, rich_markup_mode=None
)

SnapshotId = Annotated[str | None, typer.Argument(help="Id of a snapshot (else the latest).")]


def _root(ctx: typer.Context) -> Path:
    paths = invocation(ctx).resolve().settings.paths
    return Path(paths.lakehouse_dir or Path(paths.data_dir) / "lakehouse").absolute()


@app.command("snapshots")
def snapshots(
    ctx: typer.Context,
    snapshot: Annotated[str | None, typer.Argument(help="Show this snapshot's tables.")] = None,
    as_json: Json = False,
    limit: Limit = None,
) -> None:
    """Published snapshots, newest first; with an id, what that one holds."""
    root = _root(ctx)
    if snapshot is not None:
        _show(root, snapshot, as_json)
        return
    published = [entry for entry in Log(root).entries() if entry.published][::-1][:limit]
    rows = [_row(entry) for entry in published]
    cells = [(r["snapshot"], r["version"], r["at"], ", ".join(r["tables"])) for r in rows]
    emit("lake.snapshots", rows, table(["snapshot", "version", "at", "tables"], cells), as_json=as_json)


def _show(root: Path, which: str, as_json: bool) -> None:
    from quantctl.lake.snapshot import Lake

    facts = Lake(root).snapshot(which).facts()
    cells = [(name, body["rows"], body["logical_hash"]) for name, body in facts["tables"].items()]
    head = f"{facts['id']}  as of {facts['as_of']}  known at {facts['knowledge_time']}"
    emit(
        "lake.snapshot", facts, f"{head}\n{table(['table', 'rows', 'logical hash'], cells)}", as_json=as_json
    )


@app.command("history")
def history(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Option("--table", help="Only commits that added rows to it.")] = None,
    as_json: Json = False,
    limit: Limit = None,
) -> None:
    """Commits, newest first."""
    entries = [e for e in Log(_root(ctx)).entries() if name is None or name in e.tables][::-1][:limit]
    rows = [_row(entry) for entry in entries]
    cells = [(r["version"], r["at"], r["published"], r["snapshot"], ", ".join(r["tables"])) for r in rows]
    text = table(["version", "at", "published", "snapshot", "tables"], cells)
    emit("lake.history", rows, text, as_json=as_json)


@app.command("verify")
def verify(
    ctx: typer.Context,
    snapshot: SnapshotId = None,
    every: Annotated[bool, typer.Option("--all", help="Files of every commit.")] = False,
    as_json: Json = False,
) -> None:
    """Hash parts and manifests and check the log."""
    from quantctl.lake.snapshot import Lake

    lake = Lake(_root(ctx))
    if every and not lake.history():
        raise DataMissing("LAKE_MISSING", "the lakehouse has no commits", where=str(lake.root))
    report = lake.verify(snapshot or "latest", every=every)
    data = {
        "commits": report.commits,
        "manifests": report.manifests,
        "parts": report.parts,
        "bytes": report.bytes,
    }
    text = ", ".join(f"{number} {word}" for word, number in data.items()) + ": ok"
    emit("lake.verify", data, text, as_json=as_json)


def _row(entry: Entry) -> dict[str, Any]:
    kept = {"version", "snapshot", "manifest", "txn", "at", "published", "tables"}
    return entry.model_dump(mode="json", include=kept)
