"""`Snapshot`: the one handle through which anything reads the lakehouse."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantctl.contracts.errors import DataMissing
from quantctl.lake.dimensions import one_per_symbol, valid_at
from quantctl.lake.knowledge import decision_time, in_utc
from quantctl.lake.manifest import Manifest, parts_of, snapshot_id
from quantctl.lake.matrix import ReturnsMatrix, dense
from quantctl.lake.panel import Panel
from quantctl.lake.parts import Part
from quantctl.lake.reading import Source, Want, read
from quantctl.lake.tables import table_of

if TYPE_CHECKING:
    import polars as pl

FACTS: dict[str, Any] = {
    "dataops_runs": [], "coverage": [], "ineligible": [], "calendars": {}, "feature_definition_hash": None,
    "feature_parameters": {}, "scanner_hashes": {},
}  # fmt: skip


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
        self._sound: set[str] | None = None

    def hashed(self) -> Snapshot:
        """This snapshot, from now on hashing each part once before its first read (`SNAPSHOT_CORRUPT`)."""
        self._sound = set()
        return self

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
        schema = state.frame_schema(table) if state else dict(table.columns)
        return Source(self.root, table, self.parts(name), schema, lambda: self.closed_today(at), self._sound)

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

    def features(
        self, asof: date, symbols: Sequence[str] | None = None, last: int | None = None
    ) -> pl.DataFrame:
        """Feature rows dated `asof` or earlier as known then; `last` keeps that many rows per symbol.

        Raises `FOUNDATION_MISSING` if the snapshot has no features at all.
        """
        self._require("features_daily")
        rows = self.table("features_daily", symbols=symbols, end=asof, known_at=self.decision_time(asof))
        if last is None:
            return rows
        import polars as pl

        newer = pl.int_range(pl.len(), 0, -1).over("symbol")
        return rows.filter(newer <= last)

    def features_latest(self, asof: date, symbols: Sequence[str] | None = None) -> pl.DataFrame:
        """The newest feature row of each symbol dated `asof` or earlier, as known then.

        Raises `FOUNDATION_MISSING` if the snapshot has no features at all.
        """
        self._require("features_daily")
        import polars as pl

        at = self.decision_time(asof)
        keys = self.table(
            "features_daily", symbols=symbols, end=asof, columns=("symbol", "date"), known_at=at
        )
        newest = keys.unique("symbol", keep="last", maintain_order=True)
        recent = asof - timedelta(days=30)
        fresh, stale = newest.filter(pl.col("date") > recent), newest.filter(pl.col("date") <= recent)
        rows = [
            self.table("features_daily", symbols=part["symbol"].to_list(), start=start, end=asof, known_at=at)
            for part, start in ((fresh, recent), (stale, None))
            if part.height
        ]
        if not rows:
            return self.table("features_daily", symbols=(), known_at=at)
        return pl.concat(rows).join(newest, on=["symbol", "date"], how="semi").sort("symbol")

    def candidates(self, asof: date, scanners: Sequence[str]) -> pl.DataFrame:
        """Candidate rows of `scanners` at `asof`, sorted by (scanner, symbol, logic, direction)."""
        return self._scanned("candidates", asof, scanners)

    def funnel(self, asof: date, scanners: Sequence[str]) -> pl.DataFrame:
        """The scan funnel of `scanners` at `asof`, sorted by (scanner, symbol)."""
        return self._scanned("candidates_funnel", asof, scanners)

    def symbols(self, asof: date) -> pl.DataFrame:
        """The symbol dimension valid at `asof`, one row per symbol (see `dimensions.valid_at`)."""
        rows = self.table("symbols")
        return valid_at(rows, self.decision_time(asof), ("symbol",))

    def metadata(self, asof: date) -> pl.DataFrame:
        """Execution metadata valid at `asof`, one row per symbol, decimals as float64.

        A date before a venue's first row of a symbol uses that row with provenance `backdated`; a venue's
        row wins over a default, a default over an inferred one, whichever is the older.
        """
        return one_per_symbol(
            valid_at(
                self.table("execution_metadata"),
                self.decision_time(asof),
                ("symbol", "venue", "provenance"),
            )
        )

    def health_events(self, asof: date) -> pl.DataFrame:
        """Events of the health registry known at the decision of `asof`, sorted by event id."""
        return self.table("health_events", known_at=self.decision_time(asof))

    def sessions(self, code: str | None = None, end: date | None = None) -> pl.DataFrame:
        """Sessions of calendar `code` (or all calendars) up to `end`, sorted by (code, date)."""
        import polars as pl

        rows = self.table("calendar_sessions", end=end)
        return rows if code is None else rows.filter(pl.col("code") == code)

    def returns_matrix(
        self, symbols: Sequence[str] | None = None, start: date | None = None, end: date | None = None
    ) -> ReturnsMatrix:
        """Dense daily returns from `start` to `end`, each to the symbol's previous observed close.

        Read from the panel if there is one, else from the parts; both give the same bits.
        Raises `FOUNDATION_MISSING`, `SNAPSHOT_CORRUPT`.
        """
        self._require("bars_1d")
        panel = Panel.open(self.root, self.id)
        if panel is not None:
            return panel.returns(symbols, start, end)
        closes = dense(
            self.source("bars_1d", self.knowledge_time), ("close",), symbols, end, self.knowledge_time
        )
        return closes.returns(start)

    def panel(self) -> Panel:
        """The memory-mapped panel of all daily bars, built if it is absent."""
        self._require("bars_1d")
        found = Panel.open(self.root, self.id)
        return found or Panel.build(
            self.root, self.id, self.source("bars_1d", self.knowledge_time), self.knowledge_time
        )

    def decision_time(self, asof: date) -> datetime:
        """The knowledge time (UTC) of a decision dated `asof` on this snapshot."""
        return decision_time(asof, self.as_of, self.knowledge_time)

    def logical_hash(self, name: str) -> str:
        """The logical hash of a table, computed if the snapshot was never published."""
        state = self.manifest.tables[name]
        if state.logical_hash is not None:
            return state.logical_hash
        from quantctl.lake.commit import table_hash

        return table_hash(self.root, table_of(name), self.parts(name), state)

    def facts(self) -> dict[str, Any]:
        """What stages may know of the snapshot: id, as-of, table hashes and the facts of DataOps."""
        tables = {
            name: {"rows": state.rows, "logical_hash": self.logical_hash(name)}
            for name, state in self.manifest.tables.items()
        }
        return {
            **FACTS,
            **self.manifest.facts,
            "id": self.id,
            "manifest_sha256": self.manifest_sha256,
            "as_of": self.as_of.isoformat(),
            "knowledge_time": self.knowledge_time.isoformat(),
            "tables": tables,
            "candidates": tables.get("candidates", {"rows": 0, "logical_hash": None}),
        }

    def record(self) -> dict[str, Any]:
        """The content of `data/lake_snapshot.json`: what a run has pinned, down to its parts."""
        facts = self.facts()
        for name, body in facts["tables"].items():
            body["parts"] = [{"sha256": part.sha256, "rows": part.rows} for part in self.parts(name)]
        kept = (
            "id", "manifest_sha256", "as_of", "knowledge_time", "tables", "feature_definition_hash",
            "feature_parameters", "scanner_hashes",
        )  # fmt: skip
        return {name: facts[name] for name in kept}

    def view_queries(self) -> dict[str, str]:
        """DuckDB query of each table, as read at the snapshot's knowledge time."""
        from quantctl.lake.views import queries

        return queries(self)

    def sql(self, query: str) -> pl.DataFrame:
        """Answer a DuckDB query over the tables of this snapshot; raises `LAKE_SQL`."""
        from quantctl.lake.views import answer

        return answer(self, query)

    def _scanned(self, name: str, asof: date, scanners: Sequence[str]) -> pl.DataFrame:
        import polars as pl

        rows = self.table(name, start=asof, end=asof)
        return rows.filter(pl.col("scanner").is_in(pl.Series(list(scanners), dtype=pl.String).implode()))

    def _require(self, name: str) -> None:
        if name not in self.manifest.tables:
            raise DataMissing(
                "FOUNDATION_MISSING",
                f"snapshot {self.id} has no {name}",
                where=name,
                remedy="quantctl data import, data features, data audit and data candidates, in this order",
            )

    def closed_today(self, at: datetime) -> Collection[str]:
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
