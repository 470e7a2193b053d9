"""`Snapshot`: the one handle through which anything reads the lakehouse."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from quantctl.contracts.errors import DataMissing
from quantctl.lake.knowledge import in_utc
from quantctl.lake.manifest import Manifest, parts_of, snapshot_id
from quantctl.lake.parts import Part
from quantctl.lake.reading import Source, Want, read
from quantctl.lake.tables import table_of

if TYPE_CHECKING:
    import polars as pl

SCD_COLUMNS = ("valid_from", "valid_to")


class Snapshot:
    """One version of the lakehouse. It never changes, whatever is committed later.

    Parameters
    ----------
    root : the lakehouse directory
    manifest : what the snapshot consists of
    manifest_sha256 : hash of the manifest's bytes
    """

    def __init__(self, root: Path, manifest: Manifest, manifest_sha256: str) -> None:
        self.root = root
        self.manifest = manifest
        self.manifest_sha256 = manifest_sha256
        self.id = snapshot_id(manifest, manifest_sha256)
        self._parts: dict[str, list[Part]] = {}
        self._closed: dict[datetime, frozenset[str]] = {}

    def __repr__(self) -> str:
        return f"Snapshot({self.id})"

    @property
    def as_of(self) -> date:
        """The last session the snapshot is meant to be read at."""
        return self.manifest.as_of

    @property
    def knowledge_time(self) -> datetime:
        """The instant (UTC) up to which its rows are read unless a read says otherwise."""
        return self.manifest.knowledge_time

    def parts(self, name: str) -> list[Part]:
        """The parts of a table in commit order; none if nothing was ever committed to it."""
        if name not in self._parts:
            state = self.manifest.tables.get(name)
            self._parts[name] = parts_of(self.root, state) if state else []
        return self._parts[name]

    def source(self, name: str, at: datetime) -> Source:
        """Where `name` is read from at knowledge time `at`."""
        table = table_of(name)
        state = self.manifest.tables.get(name)
        schema = state.schema() if state else dict(table.columns)
        return Source(self.root, table, self.parts(name), schema, lambda: self._closed_on(at))

    def table(
        self,
        name: str,
        *,
        symbols: Sequence[str] | None = None,
        start: date | datetime | None = None,
        end: date | datetime | None = None,
        columns: Sequence[str] | None = None,
        known_at: datetime | None = None,
    ) -> pl.DataFrame:
        """Rows of `name` visible at `known_at` (default: the snapshot's), one per key, sorted by key.

        `start` and `end` bound the table's time column, both inclusive. A table without commits is empty.
        Raises `LAKE_TABLE_UNKNOWN`, `FOUNDATION_MISSING` (unknown column), `SNAPSHOT_CORRUPT`.
        """
        at = self.knowledge_time if known_at is None else in_utc(known_at)
        want = Want(
            at=at,
            symbols=None if symbols is None else tuple(sorted(set(symbols))),
            start=start,
            end=end,
            columns=None if columns is None else tuple(columns),
        )
        return read(self.source(name, at), want)

    def bars(
        self,
        symbols: Sequence[str] | None = None,
        start: date | None = None,
        end: date | None = None,
        *,
        columns: Sequence[str] | None = None,
        known_at: datetime | None = None,
    ) -> pl.DataFrame:
        """Daily bars of `symbols` from `start` to `end`, as `table` reads them.

        Raises `FOUNDATION_MISSING` if the snapshot has no bars at all.
        """
        self._require("bars_1d")
        return self.table(
            "bars_1d", symbols=symbols, start=start, end=end, columns=columns, known_at=known_at
        )

    def _require(self, name: str) -> None:
        if name not in self.manifest.tables:
            raise DataMissing(
                "FOUNDATION_MISSING",
                f"snapshot {self.id} has no {name}",
                where=name,
                remedy="quantctl data import, or quantctl data full",
            )

    def _closed_on(self, at: datetime) -> Collection[str]:
        """Symbols whose session of the UTC day of `at` has closed by `at`."""
        if at not in self._closed:
            self._closed[at] = frozenset(self._closed_now(at))
        return self._closed[at]

    def _closed_now(self, at: datetime) -> list[str]:
        import polars as pl

        day = at.date()
        sessions = self.table("calendar_sessions", start=day, end=day, columns=("code", "close"), known_at=at)
        codes = sessions.filter(pl.col("close") <= pl.lit(at)).get_column("code")
        symbols = self.table("symbols", columns=("symbol", "calendar"), known_at=at)
        chosen = symbols.filter(pl.col("calendar").is_in(codes.implode()))
        return chosen.get_column("symbol").unique(maintain_order=True).to_list()
