"""The raw pool: scanner rows merged, judged by floors and direction, one listing per identity.

A vetoed row is kept with its code, so that `explain` can tell why it is not in the pool.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Protocol, cast

import polars as pl

from quantctl.contracts.ids import atom_id, exchange_of
from quantctl.contracts.records.candidates import PoolRow, PoolVeto
from quantctl.contracts.settings.backtest import BacktestSettings
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.settings.discovery import DiscoverySettings
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.sleeve import SleeveSettings
from quantctl.contracts.settings.universe import UniverseSettings
from quantctl.steps.l0_foundation.identity import identify
from quantctl.steps.l0_foundation.representative import Member, losers, representative

LOGICS = ("rating_all", "rating_ma", "rating_osc", "vol_breakout", "trend", "momentum", "reversion")
DEFAULT_LOGIC = "trend"
FRESH_DAYS = 3
UNMERGED = ("scanner", "provenance", "known_at", "run_id", "metadata", "recorded_at")


class PoolSettings(Protocol):
    """The sections that decide on the pool."""

    @property
    def sleeve(self) -> SleeveSettings: ...  # noqa: D102
    @property
    def universe(self) -> UniverseSettings: ...  # noqa: D102
    @property
    def features(self) -> FeaturesSettings: ...  # noqa: D102
    @property
    def discovery(self) -> DiscoverySettings: ...  # noqa: D102
    @property
    def data(self) -> DataSettings: ...  # noqa: D102
    @property
    def backtest(self) -> BacktestSettings: ...  # noqa: D102


def consolidate_pool(
    candidates: pl.DataFrame,
    features_latest: pl.DataFrame,
    symbols: pl.DataFrame,
    metadata: pl.DataFrame | None,
    settings: PoolSettings,
) -> list[PoolRow]:
    """Every candidate row with its fate, sorted by (symbol, logic, direction).

    Order of judgement: logic, direction, liquidity and volatility floors, identity, then one
    representative per (identity, logic, direction), then the pool limit by turnover.
    """
    liquidity = _by_symbol(features_latest, ("adv_30", "vol_30"))
    known = _by_symbol(symbols, ("base", "quote", "base_identity", "asset_type", "calendar"))
    tradable = _by_symbol(metadata, _METADATA) if metadata is not None else {}
    rows = [
        _row(merged, liquidity.get(merged["symbol"], {}), known.get(merged["symbol"], {}),
             tradable.get(merged["symbol"], {}), settings)
        for merged in merge_scanners(candidates)
    ]  # fmt: skip
    rows = _one_per_identity(rows, settings.universe.exchange_priority)
    return _limited(rows, settings.universe.total_limit)


_METADATA = ("tick_size", "lot_size", "price_precision", "min_notional", "provenance")


def merge_scanners(candidates: pl.DataFrame) -> list[dict[str, Any]]:
    """One record per (symbol, logic, direction): scanners in byte order, first value of a field wins.

    Nulls are filled by later scanners; differing metadata that loses is kept under `merged_from`.
    """
    merged: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in candidates.sort("scanner", "symbol", "logic", "direction", nulls_last=True).iter_rows(
        named=True
    ):
        row["logic"] = row["logic"] or DEFAULT_LOGIC
        key = (row["symbol"], row["logic"], row["direction"])
        extra = json.loads(row.get("metadata") or "{}")
        if key not in merged:
            merged[key] = row | {"scanners": [row["scanner"]], "metadata": extra}
            continue
        _fill(merged[key], row, extra)
    return [merged[key] for key in sorted(merged)]


def _fill(first: dict[str, Any], later: Mapping[str, Any], extra: dict[str, Any]) -> None:
    first["scanners"].append(later["scanner"])
    for name, value in later.items():
        if name not in UNMERGED and first.get(name) is None:
            first[name] = value
    losing = {k: v for k, v in extra.items() if k in first["metadata"] and first["metadata"][k] != v}
    first["metadata"] = extra | first["metadata"]
    if losing:
        first["metadata"].setdefault("merged_from", []).append({"scanner": later["scanner"], **losing})


def _row(
    merged: Mapping[str, Any],
    liquidity: Mapping[str, Any],
    known: Mapping[str, Any],
    tradable: Mapping[str, Any],
    settings: PoolSettings,
) -> PoolRow:
    symbol = merged["symbol"]
    identity = _identity(symbol, merged, known, settings)
    usable = tradable.get("provenance") != "inferred" or settings.universe.accept_inferred_metadata
    row = PoolRow(
        atom=atom_id(symbol, merged["logic"], merged["direction"]),
        symbol=symbol,
        exchange=exchange_of(symbol),
        asset_type=known.get("asset_type") or merged["asset_type"],
        base_identity=identity[0],
        quote=identity[1],
        direction=merged["direction"],
        logic=merged["logic"],
        adv=liquidity.get("adv_30"),
        vol_30=liquidity.get("vol_30"),
        adv_group=None,
        scanners=merged["scanners"],
        metadata=merged["metadata"],
        tick_size=_positive(tradable.get("tick_size")) if usable else None,
        lot_size=_positive(tradable.get("lot_size")) if usable else None,
        price_precision=tradable.get("price_precision") if usable else None,
        min_notional=_positive(tradable.get("min_notional")) if usable else None,
        metadata_provenance=tradable.get("provenance"),
        calendar=settings.data.calendars.get(exchange_of(symbol), ""),
    )
    return row.model_copy(update={"vetoes": _vetoes(row, settings)})


def _vetoes(row: PoolRow, settings: PoolSettings) -> list[PoolVeto]:
    found = []
    if row.logic not in LOGICS:
        found.append(PoolVeto(code="LOGIC_UNKNOWN"))
    if not _direction_allowed(row.direction, settings):
        found.append(PoolVeto(code="DIRECTION_DISABLED"))
    found += _floors(row, settings.universe)
    if row.base_identity is None:
        found.append(PoolVeto(code="IDENTITY_UNRESOLVED"))
    return found


def _direction_allowed(direction: str, settings: PoolSettings) -> bool:
    if settings.sleeve.direction not in ("MIXED", direction):
        return False
    return direction == "LONG" or settings.features.feat_short_direction


def _floors(row: PoolRow, universe: UniverseSettings) -> list[PoolVeto]:
    found = []
    if row.adv is None:
        if not universe.allow_unknown_liquidity:
            found.append(PoolVeto(code="LIQUIDITY_UNKNOWN"))
    elif row.adv < universe.daily_turnover_min:
        found.append(PoolVeto(code="TURNOVER_LOW", value=row.adv, limit=universe.daily_turnover_min))
    floor = universe.daily_vol_min
    if floor > 0 and (row.vol_30 is None or row.vol_30 <= floor):
        found.append(PoolVeto(code="VOLATILITY_LOW", value=row.vol_30, limit=floor))
    return found


def _identity(
    symbol: str, merged: Mapping[str, Any], known: Mapping[str, Any], settings: PoolSettings
) -> tuple[str | None, str | None]:
    if known.get("base_identity"):
        return known["base_identity"], known["quote"]
    found = identify(
        symbol, base=known.get("base"), quote=known.get("quote"), asset_type=merged["asset_type"],
        wrapped=settings.universe.wrapped, stable_bases=frozenset(settings.discovery.stable_bases),
    )  # fmt: skip
    return found.base_identity, found.quote


def _one_per_identity(rows: list[PoolRow], exchange_priority: Sequence[str]) -> list[PoolRow]:
    groups: dict[tuple[str, str, str], list[PoolRow]] = {}
    for row in rows:
        if row.accepted and row.base_identity is not None:
            groups.setdefault((row.base_identity, row.logic, row.direction), []).append(row)
    fates: dict[str, dict[str, Any]] = {}
    for group in groups.values():
        members = [Member(row.symbol, row.quote, row.adv) for row in group]
        chosen = representative(members, exchange_priority)
        others = [member.symbol for member in losers(members, chosen)]
        total = sum(sorted(row.adv or 0.0 for row in group))
        for row in group:
            fate: dict[str, Any] = {"adv_group": total}
            if row.symbol == chosen.symbol:
                fate["implementation_alternatives"] = others
            else:
                fate["vetoes"] = [PoolVeto(code="IDENTITY_DUPLICATE", value=row.adv, limit=chosen.liquidity)]
            fates[row.atom] = fate
    return [row.model_copy(update=fates.get(row.atom, {})) for row in rows]


def _limited(rows: list[PoolRow], limit: int) -> list[PoolRow]:
    accepted = sorted(
        (row for row in rows if row.accepted), key=lambda row: (-(row.adv or 0.0), row.symbol, row.atom)
    )
    beyond = {row.atom: rank for rank, row in enumerate(accepted, 1) if rank > limit}
    return [
        row.model_copy(update={"vetoes": [PoolVeto(code="POOL_LIMIT", value=beyond[row.atom], limit=limit)]})
        if row.atom in beyond
        else row
        for row in rows
    ]


def reference_symbols(
    features_latest: pl.DataFrame, symbols: pl.DataFrame, settings: PoolSettings
) -> list[str]:
    """The most liquid symbols of the benchmark's market, whatever their rating, at most `reference_limit`.

    Same exchange and asset type as the benchmarks, no stablecoin, no leveraged token, one listing per
    identity, a bar within the last three days. LONG and SHORT of one market get the same list.
    """
    market = _market(symbols, settings)
    if features_latest.is_empty() or market.is_empty():
        return []
    newest = cast("date", features_latest["date"].max())
    fresh = features_latest.filter(pl.col("date") >= newest - timedelta(days=FRESH_DAYS))
    rows = fresh.select("symbol", "adv_30").join(market, on="symbol").filter(pl.col("adv_30") > 0)
    groups: dict[str, list[Member]] = {}
    for row in rows.sort("symbol").iter_rows(named=True):
        groups.setdefault(row["base_identity"], []).append(Member(row["symbol"], row["quote"], row["adv_30"]))
    chosen = [representative(group, settings.universe.exchange_priority) for group in groups.values()]
    chosen.sort(key=lambda member: (-(member.liquidity or 0.0), member.symbol))
    return [member.symbol for member in chosen[: settings.universe.reference_limit]]


def _market(symbols: pl.DataFrame, settings: PoolSettings) -> pl.DataFrame:
    benchmarks = list(settings.backtest.benchmark_symbols)
    types = symbols.filter(pl.col("symbol").is_in(benchmarks))["asset_type"].to_list()
    exchanges = [exchange_of(symbol) for symbol in benchmarks] or list(settings.universe.exchange_priority)
    found = symbols.filter(
        pl.col("exchange").is_in(exchanges)
        & ~pl.col("leveraged")
        & ~pl.col("stable")
        & pl.col("base_identity").is_not_null()
    )
    if types:
        found = found.filter(pl.col("asset_type").is_in(types))
    return found.select("symbol", "quote", "base_identity")


def required_symbols(
    candidates: pl.DataFrame, features_latest: pl.DataFrame, symbols: pl.DataFrame, settings: PoolSettings
) -> list[str]:
    """Symbols whose bars and features a run reads: pool, reference and benchmarks, sorted."""
    pool = [
        row.symbol
        for row in consolidate_pool(candidates, features_latest, symbols, None, settings)
        if row.accepted
    ]
    reference = reference_symbols(features_latest, symbols, settings)
    return sorted({*pool, *reference, *settings.backtest.benchmark_symbols})


def _by_symbol(frame: pl.DataFrame, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    rows = frame.select("symbol", *names).iter_rows(named=True)
    return {row["symbol"]: row for row in rows}


def _positive(value: float | None) -> float | None:
    """A metadata number by value: null, NaN and anything not above zero are missing."""
    return float(value) if value is not None and value > 0 else None
