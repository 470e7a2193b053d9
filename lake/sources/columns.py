"""Which column of an offered table is which field of a bar, and what its values mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from quantctl.contracts.errors import ConfigError, DataUnhealthy
from quantctl.contracts.ids import is_symbol

_PRICES = ("open", "high", "low", "close")
FIELDS = ("symbol", "stamp", *_PRICES, "volume", "quote_volume", "trades")
_NAMES: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker"),
    "stamp": ("date", "timestamp", "open_time", "datetime", "time"),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "v"),
    "quote_volume": ("quote_volume", "quote_asset_volume", "qv"),
    "trades": ("trades", "count", "number_of_trades"),
}
_UNITS = ((1e11, "s"), (1e14, "ms"), (1e17, "us"))


def choose(columns: list[str], given: Mapping[str, str], *, close_only: bool, where: str) -> dict[str, str]:
    """Field -> column: those `given`, then the first recognised name (case does not matter).

    `date` may be given for the field `stamp`. Raises `IMPORT_COLUMNS` (exit 2) when a field of
    `given` is unknown, its column is absent, or time, close or (not `close_only`) a price has none.
    """
    wanted = {("stamp" if field == "date" else field): column for field, column in given.items()}
    unknown = sorted(set(wanted) - set(FIELDS)) + sorted(set(wanted.values()) - set(columns))
    if unknown:
        raise _columns(f"--map names {', '.join(unknown)}, which is not there", columns, where)
    folded = {name.lower(): name for name in reversed(columns)}
    for field, names in _NAMES.items():
        found = next((folded[name] for name in names if name in folded), None)
        if (
            field not in wanted
            and found is not None
            and not (close_only and field in ("open", "high", "low"))
        ):
            wanted[field] = found
    needed = ("stamp", "close") if close_only else ("stamp", *_PRICES)
    missing = [field for field in needed if field not in wanted]
    if missing:
        raise _columns(f"no column for {', '.join(missing)}", columns, where)
    return {field: wanted[field] for field in FIELDS if field in wanted}


def _columns(what: str, columns: list[str], where: str) -> ConfigError:
    return ConfigError(
        "IMPORT_COLUMNS",
        f"{what}; the columns are {', '.join(columns)}",
        where=where,
        remedy="name them with --map field=column, or use --close-only for a source of closes",
    )


def typed(frame: pl.DataFrame, mapping: Mapping[str, str], where: str) -> pl.DataFrame:
    """The fields of `mapping` as symbol (String), stamp (Datetime us UTC), numbers (Float64), trades.

    Absent fields are null columns. Raises `IMPORT_PARSE` with the row of the first unreadable value.
    """
    columns: list[pl.Series] = []
    for field in FIELDS:
        if field not in mapping:
            kind: Any = pl.String if field == "symbol" else pl.Int64 if field == "trades" else pl.Float64
            columns.append(pl.Series(field, [None], dtype=kind).new_from_index(0, frame.height))
            continue
        column = frame.get_column(mapping[field])
        columns.append(_field(field, column, where).alias(field))
    return pl.DataFrame(columns)


def _field(field: str, column: pl.Series, where: str) -> pl.Series:
    if field == "symbol":
        return _parsed(column, column.cast(pl.String), where)
    if field == "stamp":
        return stamps(column, where)
    kind: Any = pl.Int64 if field == "trades" else pl.Float64
    text = column.dtype == pl.String
    if not (text or column.dtype.is_numeric()):
        raise _parse(f"{field} is {column.dtype}, not a number", f"{where}:{column.name}")
    offered = column.str.strip_chars() if text else column
    offered = offered.replace("", None) if text else offered
    return _parsed(offered, offered.cast(kind, strict=False), where)


def stamps(column: pl.Series, where: str = "") -> pl.Series:
    """Instants (Datetime us, UTC) from dates, datetimes, ISO texts or epoch numbers.

    The unit of epochs goes by magnitude: below 1e11 seconds, 1e14 milliseconds, 1e17 microseconds, else
    nanoseconds. Naive datetimes are UTC. Raises `IMPORT_PARSE`.
    """
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if isinstance(column.dtype, pl.Datetime):
        micro = column.cast(pl.Datetime("us", column.dtype.time_zone))
        zone = column.dtype.time_zone
        return micro.dt.convert_time_zone("UTC") if zone else micro.dt.replace_time_zone("UTC")
    if column.dtype == pl.String:
        return _text_stamps(column, where)
    if column.dtype.is_numeric():
        return _epochs(column, where)
    raise _parse(f"time is {column.dtype}", f"{where}:{column.name}")


def _text_stamps(column: pl.Series, where: str) -> pl.Series:
    first = column.drop_nulls().head(1).to_list()
    if first and first[0].strip().isdigit():
        return _epochs(_parsed(column, column.str.strip_chars().cast(pl.Int64, strict=False), where), where)
    texts = column.str.strip_chars().str.replace("Z$", "+00:00").str.replace(" ", "T", literal=True)
    if first and len(first[0].strip()) == 10:
        days = texts.str.to_date("%Y-%m-%d", strict=False)
        return _parsed(column, days, where).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    zoned = bool(texts.str.contains(r"T.*[+-]\d\d:?\d\d$").any())
    form = "%Y-%m-%dT%H:%M:%S%.f%:z" if zoned else "%Y-%m-%dT%H:%M:%S%.f"
    found = texts.str.to_datetime(form, time_unit="us", strict=False)
    read = _parsed(column, found, where)
    return read.dt.convert_time_zone("UTC") if zoned else read.dt.replace_time_zone("UTC")


def _epochs(column: pl.Series, where: str) -> pl.Series:
    whole = _parsed(column, column.cast(pl.Int64, strict=False), where)
    if not whole.len() or whole.null_count():
        return _parsed(whole, whole.cast(pl.Datetime("us", "UTC")), where, nulls=True)
    largest = float(whole.abs().max() or 0)  # type: ignore[arg-type]
    unit = next((name for bound, name in _UNITS if largest < bound), "ns")
    factor = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 1}[unit]
    micro = whole // 1000 if unit == "ns" else whole * factor
    return micro.cast(pl.Datetime("us", "UTC"))


def _parsed(offered: pl.Series, read: pl.Series, where: str, *, nulls: bool = False) -> pl.Series:
    lost = read.is_null() if nulls else read.is_null() & offered.is_not_null()
    if lost.any():
        row = int(lost.arg_true()[0])
        raise _parse(
            f"row {row + 1}: {offered.name} {offered[row]!r} cannot be read",
            f"{where}:{offered.name}:{row + 1}",
            row=row + 1,
        )
    return read


def _parse(message: str, where: str, **details: Any) -> DataUnhealthy:
    return DataUnhealthy(
        "IMPORT_PARSE", message, where=where, details=details, remedy="mend the file; nothing was committed"
    )


def prefixed(symbols: pl.Series, exchange: str | None, where: str) -> pl.Series:
    """Symbols as `EXCHANGE:SYMBOL`, upper case; a prefix that is there wins over `exchange`.

    Raises `IMPORT_EXCHANGE` (no prefix and no `exchange`) and `IMPORT_SYMBOL`.
    """
    names = symbols.unique(maintain_order=True).drop_nulls().to_list()
    table = {name: _canonical(name.strip().upper(), exchange, where) for name in names}
    if symbols.null_count():
        raise _unnamed("a row has no symbol", where)
    return symbols.replace_strict(table, return_dtype=pl.String)


def _canonical(name: str, exchange: str | None, where: str) -> str:
    if ":" not in name and not exchange:
        raise ConfigError(
            "IMPORT_EXCHANGE", f"{name} has no exchange prefix", where=where, remedy="give --exchange NAME"
        )
    full = name if ":" in name else f"{exchange}:{name}".upper()
    if not is_symbol(full):
        raise _unnamed(f"{full!r} is not EXCHANGE:SYMBOL", where)
    return full


def _unnamed(message: str, where: str) -> ConfigError:
    remedy = "name each row's symbol EXCHANGE:SYMBOL, as in BINANCE:BTCUSDT; nothing was committed"
    return ConfigError("IMPORT_SYMBOL", message, where=where, remedy=remedy)
