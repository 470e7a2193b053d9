"""`sql`: one query over runs, ledger, artifacts and the newest snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from quantctl.contracts.errors import ConfigError
from quantctl.options import Json
from quantctl.output import emit, table
from quantctl.session import reading

app = typer.Typer()
FORMATS = ("table", "csv", "json", "parquet")


@app.command()
def sql(
    ctx: typer.Context,
    query: Annotated[str | None, typer.Argument(help="One SELECT; `SHOW TABLES` lists the views.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Read the query from a file.")] = None,
    shape: Annotated[str, typer.Option("--format", help="table, csv, json or parquet.")] = "table",
    out: Annotated[Path | None, typer.Option("--out", help="Write there (parquet needs it).")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make the catalogue anew.")] = False,
    as_json: Json = False,
) -> int:
    """Query runs, ledger, artifacts and the lake as of the last commit. Takes no lock, writes nothing."""
    sdk = reading(ctx)
    if rebuild:
        count = sdk.rebuild_catalog()
        emit("sql", {"runs": count}, f"projected {count} runs to {sdk.places.catalog}", as_json=as_json)
        if query is None and file is None:
            return 0
    text = _query(query, file)
    if shape not in FORMATS:
        raise ConfigError("USAGE", f"unknown format {shape!r}", where="--format", remedy=", ".join(FORMATS))
    columns, rows = sdk.query_rows(text)
    if as_json or shape == "json":
        emit("sql", [dict(zip(columns, row, strict=True)) for row in rows], "", as_json=True)
    elif shape == "table":
        print(table(columns, rows))
    else:
        _write(shape, columns, rows, out)
    return 0


def _query(query: str | None, file: Path | None) -> str:
    if (query is None) == (file is None):
        raise ConfigError("USAGE", "give a query or --file", remedy="quantctl sql 'SHOW TABLES'")
    if query is not None:
        return query
    assert file is not None
    if not file.is_file():
        raise ConfigError("USAGE", f"no file {file}", where="--file")
    return file.read_text()


def _write(shape: str, columns: list[str], rows: list[tuple[Any, ...]], out: Path | None) -> None:
    if shape == "csv":
        import csv
        import sys

        stream = out.open("w", newline="") if out else sys.stdout
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        if out:
            stream.close()
        return
    if out is None:
        raise ConfigError("USAGE", "--format parquet needs --out FILE", where="--out")
    import polars as pl

    pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None).write_parquet(out)
