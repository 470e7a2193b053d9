"""Manifests: what a snapshot consists of, content-addressed canonical JSON.

The newest parts of a table stand in the manifest itself; whenever they exceed `TAIL` they move into an
immutable segment file, so the cost of a commit does not grow with history. A manifest holds no time of
writing: equal content has an equal id.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quantctl.contracts.canonical import canonical, parse_strict, sha256_hex
from quantctl.contracts.errors import ContractError
from quantctl.lake.parts import Part, corrupt
from quantctl.lake.tables import EXACT, INSTANT, Table

TAIL = 64
_TYPES: dict[str, Any] = {
    "f64": pl.Float64(), "i64": pl.Int64(), "i32": pl.Int32(), "i16": pl.Int16(), "i8": pl.Int8(),
    "bool": pl.Boolean(), "utf8": pl.String(), "date": pl.Date(), "instant_us": INSTANT, "decimal_18": EXACT,
}  # fmt: skip


class TableState(BaseModel):
    """One table of a snapshot. `logical_hash` is set by publishing, null on commits in between."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, str]
    rows: int
    logical_hash: str | None = None
    segments: tuple[str, ...] = ()
    tail: tuple[Part, ...] = ()

    def frame_schema(self, table: Table) -> dict[str, Any]:
        """Column to polars type: the columns `table` names in its order, then added ones by name."""
        added = sorted(set(self.columns) - set(table.columns))
        return {name: _TYPES[self.columns[name]] for name in (*table.columns, *added)}


class Manifest(BaseModel):
    """One snapshot. `facts` are those of DataOps: coverage, hashes, calendars, ineligible candidates."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: date
    knowledge_time: datetime
    tables: dict[str, TableState]
    facts: dict[str, Any] = Field(default_factory=dict)

    def encoded(self) -> bytes:
        """Its bytes."""
        return canonical(self.model_dump(mode="json", exclude_defaults=True))


def snapshot_id(manifest: Manifest, sha256: str) -> str:
    """`snap-<as_of>-<first 12 hex digits of the manifest's hash>`."""
    return f"snap-{manifest.as_of:%Y%m%d}-{sha256[:12]}"


def manifest_path(root: Path, sha256: str) -> Path:
    """Where a manifest or a segment lies below the lakehouse `root`."""
    return root / "manifests" / f"{sha256}.json"


def load_checked(root: Path, sha256: str) -> Any:
    """The JSON of a manifest or segment; raises `SNAPSHOT_CORRUPT` if it is missing or altered."""
    path = manifest_path(root, sha256)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise corrupt(path, "the manifest is missing") from None
    if sha256_hex(data) != sha256:
        raise corrupt(path, "the manifest is altered")
    return parse_strict(data)


def load_manifest(root: Path, sha256: str) -> Manifest:
    """The manifest with that hash; raises `SNAPSHOT_CORRUPT`."""
    try:
        return Manifest.model_validate(load_checked(root, sha256))
    except ValidationError:
        raise corrupt(manifest_path(root, sha256), "the manifest cannot be read") from None


def parts_of(root: Path, state: TableState) -> list[Part]:
    """All parts of a table in commit order; raises `SNAPSHOT_CORRUPT`."""
    older = [Part.model_validate(row) for sha in state.segments for row in load_checked(root, sha)]
    return [*older, *state.tail]


def extend(
    state: TableState | None, columns: Mapping[str, str], parts: list[Part], where: str
) -> tuple[TableState, bytes | None]:
    """The table after a commit of `parts`, and the segment file to write first, if one became full.

    Raises `LAKE_SCHEMA` if a column changed its type.
    """
    before = state or TableState(columns={}, rows=0)
    changed = [c for c, kind in columns.items() if before.columns.get(c, kind) != kind]
    if changed:
        raise ContractError("LAKE_SCHEMA", f"columns {', '.join(changed)} changed type", where=where)
    rows = before.rows + sum(part.rows for part in parts)
    merged = before.columns | dict(columns)
    tail = (*before.tail, *parts)
    if len(tail) <= TAIL:
        return TableState(columns=merged, rows=rows, segments=before.segments, tail=tail), None
    segment = canonical([part.model_dump(mode="json", exclude_defaults=True) for part in tail])
    segments = (*before.segments, sha256_hex(segment))
    return TableState(columns=merged, rows=rows, segments=segments), segment
