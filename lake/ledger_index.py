"""Which parts of the SQL surface count: `data/ledger/parts.json`, replaced whole.

The index names batches, not runs. A batch is what one projection or one merge wrote: the rows of some
runs, one immutable Parquet file per table that has any. `FAN_IN` batches of one size are merged into the
next larger, so their number grows with the logarithm of the number of records, up to `LARGE` records in a
batch, and from there with one batch per so many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from quantctl.contracts.canonical import canonical, hash_json, parse_strict
from quantctl.contracts.errors import QuantError
from quantctl.lake.files import write_atomic
from quantctl.lake.ledger_tables import COLUMNS

FAN_IN = 8
LARGE = 50_000  # ledger records of the largest merge: what a process that has just ended a run can hold
LAYOUT = hash_json({table: list(columns.items()) for table, columns in COLUMNS.items()})[:12]

T = TypeVar("T")


class Batch(BaseModel):
    """Rows of some runs.

    runs, records : how many runs and ledger records its files hold
    first, last : the earliest and the latest `created_at` of its runs
    files : table -> file below the directory of parts; a table without rows has none
    gone : runs whose rows in it count no more, because a later batch has them
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: int
    records: int
    first: str
    last: str
    files: dict[str, str]
    gone: tuple[str, ...] = ()


class Index(BaseModel):
    """The batches that count, in the order in which they came to be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: str = LAYOUT
    batches: tuple[Batch, ...] = ()

    def files(self) -> set[str]:
        """Every file that counts."""
        return {file for batch in self.batches for file in batch.files.values()}


def load(root: Path) -> Index | None:
    """The index below `root`; null where there is none that this version can read."""
    try:
        index = Index.model_validate(parse_strict((root / "parts.json").read_bytes()))
    except (FileNotFoundError, QuantError, ValidationError):
        return None
    return index if index.layout == LAYOUT else None


def save(root: Path, index: Index) -> None:
    """Replace the index."""
    write_atomic(root / "parts.json", canonical(index.model_dump()))


def due(sizes: Sequence[int]) -> list[int]:
    """Places of the batches to merge next, given the records of each; empty when none are due.

    The oldest of the smallest size that there are `FAN_IN` of, as many as fit into `LARGE` records.
    """
    tiers: dict[int, list[int]] = {}
    for place, records in enumerate(sizes):
        if 2 * records <= LARGE:
            tiers.setdefault(_tier(records), []).append(place)
    for tier in sorted(tiers):
        if len(tiers[tier]) >= FAN_IN:
            return _fitting(tiers[tier][:FAN_IN], sizes)
    return []


def _tier(records: int) -> int:
    tier = 0
    while records >= FAN_IN:
        records, tier = records // FAN_IN, tier + 1
    return tier


def _fitting(places: Sequence[int], sizes: Sequence[int]) -> list[int]:
    held, fitting = 0, []
    for place in places:
        held += sizes[place]
        if held > LARGE:
            break
        fitting.append(place)
    return fitting


def settled(runs: Iterable[tuple[T, int]]) -> list[list[T]]:
    """The runs of each batch that remains when runs of so many records are projected one after the other."""
    batches: list[tuple[int, list[T]]] = []
    for run, records in runs:
        batches.append((records, [run]))
        while places := due([records for records, _ in batches]):
            merged = [batches[place] for place in places]
            batches = [batch for place, batch in enumerate(batches) if place not in places]
            batches.append((sum(n for n, _ in merged), [run for _, held in merged for run in held]))
    return [held for _, held in batches]
