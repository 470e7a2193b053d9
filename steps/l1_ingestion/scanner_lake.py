"""Scanners evaluated offline: the same definitions over bars, features and symbols at one date."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.grouping import grouped
from quantctl.contracts.settings.universe import UniverseSettings
from quantctl.steps.l0_foundation.representative import Member, representative
from quantctl.steps.l1_ingestion.scanner import Definition, Filter, Sort, bounds_of, is_directional

FIELDS: dict[str, str] = {
    "close": "close", "open": "open", "high": "high", "low": "low", "volume": "volume",
    "Value.Traded": "value_traded", "Volatility.D": "volatility_d", "name": "name", "type": "type",
    "exchange": "exchange", "base": "base", "quote": "quote",
    "Recommend.All": "recommend_all", "Recommend.MA": "recommend_ma", "Recommend.Other": "recommend_other",
    "RSI": "rsi_14", "ADX": "adx_14", "AO": "ao", "Mom": "mom", "CCI20": "cci", "Stoch.K": "stoch_k",
    "Stoch.D": "stoch_d", "W.R": "willr", "UO": "uo", "MACD.macd": "macd", "MACD.signal": "macd_signal",
    "Perf.W": "perf_w", "Perf.1M": "perf_1m", "Perf.3M": "perf_3m", "Perf.6M": "perf_6m", "Perf.Y": "perf_y",
}  # fmt: skip
PERFORMANCE: dict[str, int] = {"perf_w": 7, "perf_1m": 30, "perf_3m": 90, "perf_6m": 180, "perf_y": 365}
_TYPES = {
    "spot": "spot",
    "perp": "swap",
    "equity": "stock",
    "etf": "fund",
    "future": "futures",
    "fx": "forex",
}
FUNNEL = {
    "scanner": pl.String, "symbol": pl.String, "last_rule": pl.String, "code": pl.String,
    "value": pl.Float64, "limit": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True)
class Scan:
    """rows : the market rows that passed, in rank order, with `value_traded_group`
    funnel : scanner, symbol, last_rule, code (null: passed), value, limit, by symbol
    stages : rows left after each rule
    daily : field whose sort over another timeframe was replaced, or null
    """

    rows: pl.DataFrame
    funnel: pl.DataFrame
    stages: dict[str, int]
    daily: str | None


def market_at(bars: pl.DataFrame, features: pl.DataFrame, symbols: pl.DataFrame) -> pl.DataFrame:
    """One row per symbol of `symbols`: what a scanner may ask of it at the as-of bar.

    Parameters
    ----------
    bars : symbol, date (only the as-of bar has `last` true), OHLCV, quote_volume, known_at
    features : feature rows of the as-of bar, one per symbol at most
    symbols : symbol, exchange, base, quote, base_identity, asset_type, stable, sector, industry

    `has_bar` is false where the as-of bar is missing; its fields are then null.
    """
    last = bars.filter(pl.col("last")).with_columns(
        pl.coalesce("quote_volume", pl.col("close") * pl.col("volume")).alias("value_traded"),
        (pl.col("quote_volume").is_null() & pl.col("volume").is_not_null()).alias("turnover_estimated"),
        (100.0 * (pl.col("high") - pl.col("low")) / pl.col("low")).alias("volatility_d"),
        pl.lit(True).alias("has_bar"),
    )
    taken = set(last.columns) | set(symbols.columns) - {"symbol"}
    values = features.select("symbol", *(c for c in features.columns if c not in taken))
    known = (
        features.select("symbol", features_known_at=pl.col("known_at"))
        if "known_at" in features.columns
        else None
    )
    table = symbols.join(last.drop("last"), on="symbol", how="left").join(values, on="symbol", how="left")
    table = table if known is None else table.join(known, on="symbol", how="left")
    return table.with_columns(
        pl.col("has_bar").fill_null(False),
        pl.col("symbol").str.split(":").list.last().alias("name"),
        pl.col("asset_type").replace(_TYPES).alias("type"),
    ).sort("symbol")


def with_performance(market: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """`market` with `perf_*` (per cent) from each symbol's own bars up to the as-of bar."""
    ordered = bars.sort("symbol", "date")
    back = [
        (100.0 * (pl.col("close") / pl.col("close").shift(n).over("symbol") - 1.0)).alias(name)
        for name, n in PERFORMANCE.items()
    ]
    values = ordered.with_columns(back).filter(pl.col("last")).select("symbol", *PERFORMANCE)
    return market.join(values, on="symbol", how="left", maintain_order="left")


def needs_history(definition: Definition) -> bool:
    """Whether a definition asks for returns over several bars."""
    return any(FIELDS.get(field.partition("|")[0]) in PERFORMANCE for field in _asked(definition))


def _asked(definition: Definition) -> list[str]:
    sort = definition.lake.sort or definition.sort
    fields = [rule.field for rule in definition.filters.values()]
    fields += [gate.field for gate in definition.gates.values()]
    return fields + ([sort.field] if sort else [])


def floors(name: str, definition: Definition, universe: UniverseSettings) -> tuple[float, float]:
    """Floors on turnover (USD) and range (per cent): the profile's, or stricter ones of the scanner.

    Raises `SCANNER_FLOOR_LOOSENED` (exit 2).
    """
    pairs = (
        ("liquidity.current_bar_min", definition.liquidity.current_bar_min, universe.current_bar_min),
        ("volatility.volatility_d_min", definition.volatility.volatility_d_min, universe.volatility_d_min),
    )
    for key, own, floor in pairs:
        if own is not None and own < floor:
            raise ConfigError(
                "SCANNER_FLOOR_LOOSENED", f"{key} is {own:g}, the profile's floor {floor:g}",
                where=f"{name}:{key}",
                remedy="raise it, or leave it to the profile",
            )  # fmt: skip
    liquidity, volatility = (floor if own is None else own for _, own, floor in pairs)
    return liquidity, volatility


def check_fields(name: str, definition: Definition, columns: Collection[str]) -> None:
    """Refuse what the lake cannot evaluate (`SCANNER_FIELD_UNAVAILABLE`, exit 2)."""
    for field in _asked(definition):
        plain, _, frame = field.partition("|")
        column = FIELDS.get(plain)
        if frame or column is None or (column not in columns and column not in PERFORMANCE):
            uncomputed = column is not None and not frame
            raise ConfigError(
                "SCANNER_FIELD_UNAVAILABLE",
                f"the lakehouse cannot evaluate {field}" + (" over daily bars" if frame else ""),
                where=name,
                remedy="quantctl data features computes it" if uncomputed
                else "give the scanner a `lake` block with a daily sort, or drop the field",
            )  # fmt: skip


def scan(
    name: str,
    definition: Definition,
    market: pl.DataFrame,
    *,
    universe: UniverseSettings,
    stable_bases: Collection[str],
) -> Scan:
    """Evaluate one scanner over `market_at`.

    Every rule drops rows with its code; the funnel says for each symbol of the market how far it came.
    Raises `SCANNER_FLOOR_LOOSENED`, `SCANNER_FIELD_UNAVAILABLE`.
    """
    check_fields(name, definition, market.columns)
    funnel = _Funnel(name, market)
    for rule, code, passes, value, limit in _rules(name, definition, universe, stable_bases):
        funnel.apply(rule, code, passes, value, limit)
    sort = definition.lake.sort or definition.sort or Sort(field="Value.Traded")
    funnel.apply("rank", "RANK_FIELD_NULL", pl.col(FIELDS[sort.field]).is_not_null(), None, None)
    if definition.dedupe.by:
        funnel.keep("dedupe", "IDENTITY_DUPLICATE", _representatives(funnel.left, universe))
    ranked = _ranked(funnel.left, sort, definition)
    limit = definition.limit or ranked.height
    funnel.keep("limit", "SCAN_LIMIT", ranked["symbol"].head(limit).to_list(), float(limit))
    groups = grouped(market.filter(pl.col("has_bar")), ["base_identity"], ["symbol"])
    total = groups.agg(pl.col("value_traded").sum().alias("value_traded_group"))
    rows = ranked.head(limit).join(total, on="base_identity", how="left", maintain_order="left")
    daily = (
        definition.sort.field
        if definition.lake.sort and definition.sort and "|" in definition.sort.field
        else None
    )
    return Scan(rows, funnel.frame(), funnel.stages, daily)


_Rule = tuple[str, str, pl.Expr, str | None, float | None]


def _rules(
    name: str, definition: Definition, universe: UniverseSettings, stable_bases: Collection[str]
) -> list[_Rule]:
    turnover, span = floors(name, definition, universe)
    rules: list[_Rule] = [("bar", "NO_BAR_AT_AS_OF", pl.col("has_bar"), None, None)]
    if definition.symbols:
        rules.append(("symbols", "SCAN_FILTER", pl.col("symbol").is_in(list(definition.symbols)), None, None))
    if definition.exchanges:
        rules.append(
            ("exchange", "SCAN_FILTER", pl.col("exchange").is_in(list(definition.exchanges)), None, None)
        )
    for each in sorted(definition.filters):
        rule = definition.filters[each]
        number = isinstance(rule.value, (int, float)) and not isinstance(rule.value, bool)
        column = FIELDS[rule.field.partition("|")[0]]
        rules.append((f"filter.{each}", "SCAN_FILTER", _condition(rule, column), column if number else None,
                      float(rule.value) if number else None))  # fmt: skip
    excluded = stable_bases if definition.exclude_bases == "stable" else definition.exclude_bases
    if not isinstance(excluded, str):
        rules.append(("stable", "STABLE_LISTED", pl.col("base").is_in(sorted(excluded)).not_(), None, None))
    if definition.quotes:
        rules.append(("quote", "QUOTE_EXCLUDED", pl.col("quote").is_in(list(definition.quotes)), None, None))
    rules.append(
        ("liquidity", "CURRENT_BAR_LOW", pl.col("value_traded") >= turnover, "value_traded", turnover)
    )
    ranged = pl.col("volatility_d") > span if span > 0 else pl.lit(True)
    rules.append(("volatility", "VOLATILITY_D_LOW", ranged, "volatility_d", span))
    for each in sorted(definition.gates):
        gate = definition.gates[each]
        column = FIELDS[gate.field]
        low, high = bounds_of(gate, definition.intent)
        inside = (pl.col(column) > low if low is not None else pl.lit(True)) & (
            pl.col(column) < high if high is not None else pl.lit(True)
        )
        rules.append((f"gate.{each}", "SCAN_GATE", inside, column, low if low is not None else high))
    return rules


def _condition(rule: Filter, column: str) -> pl.Expr:
    field, value = pl.col(column), rule.value
    simple: dict[str, Callable[[], pl.Expr]] = {
        "greater": lambda: field > value, "egreater": lambda: field >= value,
        "less": lambda: field < value, "eless": lambda: field <= value,
        "equal": lambda: field == value, "nequal": lambda: field != value,
        "match": lambda: field.str.contains(value), "nmatch": lambda: field.str.contains(value).not_(),
        "has": lambda: field.is_in(value if isinstance(value, list) else [value]),
        "has_none_of": lambda: field.is_in(value if isinstance(value, list) else [value]).not_(),
    }  # fmt: skip
    if rule.op in simple:
        return simple[rule.op]()
    if rule.op in ("in_range", "not_in_range"):
        numbers = len(value) == 2 and all(isinstance(v, (int, float)) for v in value)
        inside = field.is_between(value[0], value[1]) if numbers else field.is_in(value)
        return inside if rule.op == "in_range" else inside.not_()
    raise ConfigError(
        "SCANNER_FIELD_UNAVAILABLE", f"the lakehouse cannot evaluate {rule.op} of {rule.field}",
        remedy="use a comparison with a number",
    )  # fmt: skip


def _representatives(left: pl.DataFrame, universe: UniverseSettings) -> list[str]:
    members: dict[str, list[Member]] = {}
    for symbol, identity, quote, traded in left.select(
        "symbol", "base_identity", "quote", "value_traded"
    ).iter_rows():
        members.setdefault(identity or symbol, []).append(Member(symbol, quote, traded))
    return [representative(group, universe.exchange_priority).symbol for group in members.values()]


def _ranked(left: pl.DataFrame, sort: Sort, definition: Definition) -> pl.DataFrame:
    """Best first for the leg: a SHORT keeps the lowest of a directional field; ties by symbol."""
    descending = sort.order == "desc"
    if definition.intent == "SHORT" and is_directional(sort.field):
        descending = not descending
    return left.sort(FIELDS[sort.field], "symbol", descending=[descending, False])


class _Funnel:
    """Rows that are still in, and why the others are out."""

    def __init__(self, scanner: str, market: pl.DataFrame) -> None:
        self.scanner = scanner
        self.left = market
        self.last = "listed"
        self.stages: dict[str, int] = {"listed": market.height}
        self.out: list[pl.DataFrame] = []

    def apply(self, rule: str, code: str, passes: pl.Expr, value: str | None, limit: float | None) -> None:
        marked = self.left.with_columns(passes.fill_null(False).alias("_in"))
        dropped = marked.filter(~pl.col("_in"))
        self._book(dropped, code, pl.col(value) if value else pl.lit(None, pl.Float64), limit)
        self.left = marked.filter(pl.col("_in")).drop("_in")
        self.last, self.stages[rule] = rule, self.left.height

    def keep(self, rule: str, code: str, symbols: list[str], limit: float | None = None) -> None:
        self.apply(rule, code, pl.col("symbol").is_in(symbols), None, limit)

    def frame(self) -> pl.DataFrame:
        self._book(self.left, None, pl.lit(None, pl.Float64), None)
        return pl.concat(self.out).sort("symbol")

    def _book(self, rows: pl.DataFrame, code: str | None, value: pl.Expr, limit: float | None) -> None:
        columns: Mapping[str, Any] = {
            "scanner": pl.lit(self.scanner), "last_rule": pl.lit(self.last), "code": pl.lit(code, pl.String),
            "limit": pl.lit(limit, pl.Float64),
        }  # fmt: skip
        plain = rows.select("symbol", value.cast(pl.Float64).alias("value")).with_columns(**columns)
        self.out.append(plain.select(*FUNNEL).cast(FUNNEL))  # type: ignore[arg-type]
