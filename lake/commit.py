"""What a commit writes before its log entry: parts, and the manifest that follows another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from quantctl.lake.files import fsync_dir, make_dirs, rename_synced
from quantctl.lake.knowledge import in_utc
from quantctl.lake.logical import logical_hash, type_name
from quantctl.lake.manifest import Manifest, TableState, extend, parts_of
from quantctl.lake.parts import Part, conform, encode_parts
from quantctl.lake.reading import all_versions
from quantctl.lake.tables import Table, table_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Change:
    """New parts per table and the columns their rows have; their files are durable."""

    def __init__(self, parts: dict[str, list[Part]], columns: dict[str, dict[str, str]]) -> None:
        self.parts = parts
        self.columns = columns

    def latest(self, field: str, names: Mapping[str, Any]) -> str | None:
        """The greatest `time` or `known_at` of the new parts of the tables `names`."""
        ranges = [getattr(part, field) for name in names for part in self.parts.get(name, [])]
        return max((pair[1] for pair in ranges if pair is not None), default=None)


def write_parts(root: Path, tables: Mapping[str, pl.DataFrame]) -> Change:
    """Encode and write the parts of a commit, with one directory sync per table.

    Raises `LAKE_SCHEMA`, `LAKE_KEY_NULL`, `LAKE_KEY_DUPLICATE`, `LAKE_NONFINITE`, `DiskFault`.
    """
    parts: dict[str, list[Part]] = {}
    columns: dict[str, dict[str, str]] = {}
    encoded: dict[Path, list[tuple[bytes, Path]]] = {}
    for name in sorted(tables):
        table = table_of(name)
        ready = conform(table, tables[name])
        columns[name] = {column: type_name(kind) for column, kind in ready.schema.items()}
        pairs = encode_parts(table, ready)
        parts[name] = [part for part, _ in pairs]
        encoded[root / "parts" / name] = [(data, part.path(root, name)) for part, data in pairs]
    for folder, files in encoded.items():
        make_dirs(folder)
        rename_synced((data, path) for data, path in files if not path.exists())
        fsync_dir(folder)
    return Change(parts, columns)


def next_manifest(
    root: Path, before: Manifest | None, change: Change, facts: Mapping[str, Any], *, published: bool
) -> tuple[Manifest, list[bytes]]:
    """The manifest after `change`, and segment files to write before it.

    Publishing computes the logical hash of every table that changed since it was last published.
    Raises `LAKE_SCHEMA` if a column changed its type.
    """
    tables = dict(before.tables) if before else {}
    segments: list[bytes] = []
    for name, parts in change.parts.items():
        known = tables.get(name)
        if known is not None and not parts and set(change.columns[name]) <= set(known.columns):
            continue
        tables[name], segment = extend(known, change.columns[name], parts, name)
        segments += [] if segment is None else [segment]
    if published:
        tables = {name: _hashed(root, name, state, before, change) for name, state in tables.items()}
    manifest = Manifest(
        as_of=_as_of(before, change, facts),
        knowledge_time=_knowledge_time(before, change, facts),
        tables=dict(sorted(tables.items())),
        facts=_merged(before.facts if before else {}, facts),
    )
    return manifest, segments


def _hashed(root: Path, name: str, state: TableState, before: Manifest | None, change: Change) -> TableState:
    if state.logical_hash is not None:
        return state
    known = before.tables.get(name) if before else None
    parts = [*(parts_of(root, known) if known else []), *change.parts.get(name, [])]
    table = table_of(name)
    if len(parts) == 1 and set(change.columns.get(name, {})) == set(state.columns):
        return state.model_copy(update={"logical_hash": parts[0].logical_hash})
    return state.model_copy(update={"logical_hash": table_hash(root, table, parts, state)})


def table_hash(root: Path, table: Table, parts: Sequence[Part], state: TableState) -> str:
    """The logical hash of all versions of all rows of a table; raises `SNAPSHOT_CORRUPT`."""
    return logical_hash(all_versions(root, table, parts, state.frame_schema(table)), table.order)


def _merged(before: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in facts.items() if name not in ("as_of", "knowledge_time")}
    merged = {**before, **own}
    if "scanner_hashes" in own:
        merged["scanner_hashes"] = {**before.get("scanner_hashes", {}), **own["scanner_hashes"]}
    return merged


def _as_of(before: Manifest | None, change: Change, facts: Mapping[str, Any]) -> date:
    given = facts.get("as_of")
    if given is not None:
        return given if isinstance(given, date) else date.fromisoformat(given)
    newest = change.latest("time", {"bars_1d": None})
    found = [before.as_of] if before else []
    found += [date.fromisoformat(newest[:10])] if newest else []
    return max(found, default=EPOCH.date())


def _knowledge_time(before: Manifest | None, change: Change, facts: Mapping[str, Any]) -> datetime:
    given = facts.get("knowledge_time")
    if given is not None:
        return in_utc(given if isinstance(given, datetime) else datetime.fromisoformat(given))
    newest = change.latest("known_at", change.parts)
    found = [before.knowledge_time] if before else []
    found += [datetime.fromisoformat(newest)] if newest else []
    return max(found, default=EPOCH)
