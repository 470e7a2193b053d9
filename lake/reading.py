"""Reading a table of a snapshot: skip parts, push filters down, keep the last visible row of each key."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import ColumnNotFoundError, ComputeError, SchemaError

from quantctl.contracts.errors import DataMissing
from quantctl.lake.files import sha256_file
from quantctl.lake.knowledge import may_see, visible
from quantctl.lake.parts import Part, corrupt, stamp
from quantctl.lake.tables import Table


@dataclass(frozen=True)
class Want:
    """What is asked of a table; null means all. `start` and `end` are inclusive times of the table."""

    at: datetime
    symbols: tuple[str, ...] | None = None
    start: date | datetime | None = None
    end: date | datetime | None = None
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Source:
    """A table of a snapshot: where its parts are and what its columns are.

    sound : hashes of parts whose bytes were checked before they were read; null: only their length is
    """

    root: Path
    table: Table
    parts: Sequence[Part]
    schema: dict[str, Any]
    closed_today: Callable[[], Collection[str]]
    sound: set[str] | None = None


def read(source: Source, want: Want) -> pl.DataFrame:
    """Visible rows, one per key, sorted by key.

    Raises `FOUNDATION_MISSING` (a column the table does not have) and `SNAPSHOT_CORRUPT`.
    """
    table = source.table
    output = list(want.columns) if want.columns is not None else list(source.schema)
    unknown = [c for c in output if c not in source.schema]
    if unknown:
        raise DataMissing("FOUNDATION_MISSING", f"no column {', '.join(unknown)}", where=table.name)
    frames = frames_of(source, want, list(dict.fromkeys([*table.key, *output])))
    if not frames:
        return pl.DataFrame(schema={c: source.schema[c] for c in output})
    kept = resolve(table.key, frames)
    whole = kept[0] if len(kept) == 1 else pl.concat(kept).sort(list(table.key))
    return whole.select(output)


def frames_of(source: Source, want: Want, columns: list[str]) -> list[tuple[Part, pl.DataFrame]]:
    """Visible rows of every part that can hold any, in commit order, unresolved between parts."""
    chosen = [part for part in source.parts if _relevant(source.table, part, want)]
    if source.sound is not None:
        _require_sound(source, chosen, source.sound)
    plans = [_plan(source, part, want, columns) for part in chosen]
    try:
        collected = pl.collect_all(plans)
    except (ComputeError, ColumnNotFoundError, SchemaError, OSError) as problem:
        _blame(source, chosen, problem)
        raise
    frames = zip(chosen, collected, strict=True)
    return [(part, _last_version(source.table, part, frame)) for part, frame in frames if frame.height]


def _relevant(table: Table, part: Part, want: Want) -> bool:
    if not may_see(table, part, want.at):
        return False
    if want.symbols is not None and part.symbol is not None:
        low, high = part.symbol
        if not any(low <= symbol <= high for symbol in want.symbols):
            return False
    if part.time is None:
        return True
    late = want.start is not None and part.time[1] < stamp(want.start)
    return not late and not (want.end is not None and part.time[0] > stamp(want.end))


def _plan(source: Source, part: Part, want: Want, columns: list[str]) -> pl.LazyFrame:
    plan = _scan(source.root, source.table, part, source.schema)
    conditions = _asked(source.table, part, want)
    conditions += visible(source.table, part, want.at, source.closed_today)
    for condition in conditions:
        plan = plan.filter(condition)
    return plan.select(columns)


def _scan(root: Path, table: Table, part: Part, schema: dict[str, Any]) -> pl.LazyFrame:
    path = part.path(root, table.name)
    check_size(path, part)
    return pl.scan_parquet(path, schema=schema, missing_columns="insert", extra_columns="ignore", glob=False)


def check_size(path: Path, part: Part) -> None:
    """Raise `SNAPSHOT_CORRUPT` unless the file is there and as long as it was when it was committed."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise corrupt(path, "the part is missing") from None
    if size != part.bytes:
        raise corrupt(path, f"the part has {size} bytes instead of {part.bytes}")


def _require_sound(source: Source, parts: Sequence[Part], sound: set[str]) -> None:
    """Hash the parts that were not hashed yet: flipped bits can decode to prices that look real."""
    for part in parts:
        if part.sha256 in sound:
            continue
        path = part.path(source.root, source.table.name)
        check_size(path, part)
        if sha256_file(path) != part.sha256:
            raise corrupt(path, "the part is altered")
        sound.add(part.sha256)


def _asked(table: Table, part: Part, want: Want) -> list[pl.Expr]:
    conditions: list[pl.Expr] = []
    if want.symbols is not None and part.symbol is not None:
        low, high = part.symbol
        wanted = pl.Series([s for s in want.symbols if low <= s <= high], dtype=pl.String)
        conditions.append(pl.col("symbol").is_in(wanted.implode()))
    if table.time is None or part.time is None:
        return conditions
    if want.start is not None and part.time[0] < stamp(want.start):
        conditions.append(pl.col(table.time) >= pl.lit(want.start))
    if want.end is not None and part.time[1] > stamp(want.end):
        conditions.append(pl.col(table.time) <= pl.lit(want.end))
    return conditions


def _last_version(table: Table, part: Part, frame: pl.DataFrame) -> pl.DataFrame:
    if not part.versions:
        return frame
    last = pl.any_horizontal([pl.col(c) != pl.col(c).shift(-1) for c in table.key]).fill_null(True)
    return frame.filter(last)


def all_versions(root: Path, table: Table, parts: Sequence[Part], schema: dict[str, Any]) -> pl.DataFrame:
    """Every row of `parts` with every version of its key, unsorted; equal key and `known_at`: the last."""
    plans = [_scan(root, table, part, schema) for part in parts]
    frames = list(zip(parts, pl.collect_all(plans), strict=True))
    return pl.concat(resolve(table.order, frames)) if frames else pl.DataFrame(schema=schema)


def resolve(key: Sequence[str], frames: list[tuple[Part, pl.DataFrame]]) -> list[pl.DataFrame]:
    """Drop the rows whose key stands in a later part, too; each key is then in one frame only."""
    kept: list[tuple[Part, pl.DataFrame]] = []
    for part, frame in reversed(frames):
        later = [other.select(key) for rival, other in kept if overlap(part, rival)]
        if later:
            frame = frame.join(pl.concat(later), on=list(key), how="anti", maintain_order="left")
        kept.append((part, frame))
    return [frame for _, frame in reversed(kept)]


def overlap(left: Part, right: Part) -> bool:
    """Whether the ranges of symbol and time of two parts meet, so that both may hold a key."""
    return _meet(left.symbol, right.symbol) and _meet(left.time, right.time)


def _meet(left: tuple[str, str] | None, right: tuple[str, str] | None) -> bool:
    return left is None or right is None or (left[0] <= right[1] and right[0] <= left[1])


def _blame(source: Source, parts: list[Part], problem: Exception) -> None:
    for part in parts:
        path = part.path(source.root, source.table.name)
        if not path.is_file() or sha256_file(path) != part.sha256:
            raise corrupt(path, "the part is missing or altered") from problem
