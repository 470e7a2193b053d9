"""The tables of the lakehouse: columns, types, keys, and which column is a row's time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from quantctl.contracts.errors import ConfigError

if TYPE_CHECKING:
    from polars._typing import PolarsDataType

INSTANT = pl.Datetime("us", "UTC")
EXACT = pl.Decimal(38, 18)
_FLOAT, _TEXT, _WHOLE = pl.Float64(), pl.String(), pl.Int64()
_LINEAGE: dict[str, PolarsDataType] = {"provenance": _TEXT, "known_at": INSTANT}
_BAR: dict[str, PolarsDataType] = {
    **dict.fromkeys(("open", "high", "low", "close", "volume", "quote_volume"), _FLOAT),
    "trades": _WHOLE,
    "source": _TEXT,
}
_INTRADAY = re.compile(r"bars_(\d+[mh])")


@dataclass(frozen=True)
class Table:
    """One table.

    Parameters
    ----------
    name : folder below `parts/`
    columns : column to type that every commit must have; a commit may add columns, never retype one
    key : columns that name one fact; of its visible versions the last in commit order is read
    time : the column that dates a fact (a day, or an instant), null for facts without a time
    nullable : columns of `columns` that a commit may leave out
    timeless : rows that hold whatever is known, such as calendars; they have no `known_at`
    session : rows exist only once the session of their date has closed
    """

    name: str
    columns: dict[str, PolarsDataType]
    key: tuple[str, ...]
    time: str | None
    nullable: frozenset[str] = frozenset()
    timeless: bool = False
    session: bool = False

    @property
    def order(self) -> tuple[str, ...]:
        """Columns that order the rows of a part and are unique in it."""
        return self.key if self.timeless else (*self.key, "known_at")

    @property
    def symbol(self) -> str | None:
        """The symbol column, if the table has one."""
        return "symbol" if "symbol" in self.columns else None


def _table(
    name: str,
    columns: dict[str, PolarsDataType],
    key: tuple[str, ...],
    time: str | None,
    nullable: tuple[str, ...] = (),
    *,
    timeless: bool = False,
    session: bool = False,
) -> Table:
    lineage: dict[str, PolarsDataType] = {} if timeless else _LINEAGE
    return Table(name, columns | lineage, key, time, frozenset(nullable), timeless, session)


_DESCRIBED: dict[str, PolarsDataType] = {
    "symbol": _TEXT, "exchange": _TEXT, "base": _TEXT, "quote": _TEXT, "base_identity": _TEXT,
    "asset_type": _TEXT, "multiplier": _FLOAT, "leveraged": pl.Boolean(), "stable": pl.Boolean(),
    "calendar": _TEXT, "sector": _TEXT, "industry": _TEXT, "valid_from": INSTANT, "valid_to": INSTANT,
    "row_hash": _TEXT,
}  # fmt: skip
_RULES: dict[str, PolarsDataType] = {
    "symbol": _TEXT, "venue": _TEXT,
    **dict.fromkeys(("tick_size", "lot_size", "min_qty", "max_qty", "min_notional"), EXACT),
    "price_precision": pl.Int32(), "min_notional_reason": _TEXT, "contract_size": EXACT, "status": _TEXT,
    "valid_from": INSTANT, "valid_to": INSTANT, "row_hash": _TEXT,
}  # fmt: skip
_EVENT: dict[str, PolarsDataType] = {
    "event_id": _TEXT, "symbol": _TEXT, "status": _TEXT, "code": _TEXT, "severity": _TEXT,
    "value": _FLOAT, "threshold": _FLOAT, "session_date": pl.Date(), "reason": _TEXT, "run_id": _TEXT,
    "trace_id": _TEXT, "actor": _TEXT, "recorded_at": INSTANT,
}  # fmt: skip
_CANDIDATE: dict[str, PolarsDataType] = {
    "as_of": pl.Date(), "scanner": _TEXT, "symbol": _TEXT, "exchange": _TEXT, "asset_type": _TEXT,
    "identity": _TEXT, "direction": _TEXT, "logic": _TEXT, "metadata": _TEXT,
}  # fmt: skip
_FUNNEL: dict[str, PolarsDataType] = {
    "as_of": pl.Date(), "scanner": _TEXT, "symbol": _TEXT, "last_rule": _TEXT, "code": _TEXT,
    "value": _FLOAT, "limit": _FLOAT,
}  # fmt: skip
_SESSION: dict[str, PolarsDataType] = {"code": _TEXT, "date": pl.Date(), "open": INSTANT, "close": INSTANT}

_DAILY: dict[str, PolarsDataType] = {"symbol": _TEXT, "date": pl.Date()}

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        _table(
            "bars_1d",
            _DAILY | _BAR,
            ("symbol", "date"),
            "date",
            ("quote_volume", "trades"),
            session=True,
        ),
        _table(
            "bars_quarantine",
            _DAILY | _BAR | {"code": _TEXT, "row_hash": _TEXT},
            ("symbol", "date", "code", "row_hash"),
            "date",
            ("quote_volume", "trades"),
        ),
        _table(
            "features_daily",
            _DAILY | {"source": _TEXT, "definition_hash": _TEXT},
            ("symbol", "date"),
            "date",
            session=True,
        ),
        _table("tv_technicals", _DAILY, ("symbol", "date"), "date"),
        _table("symbols", _DESCRIBED, ("symbol", "valid_from"), None),
        _table("execution_metadata", _RULES, ("symbol", "venue", "valid_from"), None),
        _table("calendar_sessions", _SESSION, ("code", "date"), "date", timeless=True),
        _table("health_events", _EVENT, ("event_id",), None, ("run_id", "trace_id", "recorded_at")),
        _table("candidates", _CANDIDATE, ("as_of", "scanner", "symbol", "logic", "direction"), "as_of"),
        _table("candidates_funnel", _FUNNEL, ("as_of", "scanner", "symbol"), "as_of"),
        _table("promotions", {"promotion_id": _TEXT}, ("promotion_id",), None),
    )
}


def table_of(name: str) -> Table:
    """The table called `name`; bars of other timeframes are `bars_<n>m` and `bars_<n>h`.

    Raises `LAKE_TABLE_UNKNOWN`.
    """
    known = TABLES.get(name)
    if known is not None:
        return known
    if not _INTRADAY.fullmatch(name):
        raise ConfigError("LAKE_TABLE_UNKNOWN", f"{name} is not one of {', '.join(TABLES)}", where=name)
    columns: dict[str, PolarsDataType] = {"symbol": _TEXT, "ts": INSTANT, **_BAR}
    return _table(name, columns, ("symbol", "ts"), "ts", ("quote_volume", "trades"))
