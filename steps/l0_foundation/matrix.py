"""The foundation matrix: dense daily returns of the pool, with reference columns beside them.

Pool and reference are judged apart. Reference columns depend on no pool but for its rows, so that a
LONG and a SHORT sleeve of one market read one market.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from math import ceil
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.records.foundation import AssetFacts, FoundationDrop, FoundationNote, Role
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.backtest import BacktestSettings
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.settings.discovery import DiscoverySettings
from quantctl.contracts.settings.universe import UniverseSettings
from quantctl.steps.l0_foundation import rules
from quantctl.steps.l0_foundation.calendar_days import calendar_of, day_at
from quantctl.steps.l0_foundation.density import dense_rows
from quantctl.steps.l0_foundation.duplicates import duplicates
from quantctl.steps.l0_foundation.identity import Identity
from quantctl.steps.l0_foundation.observed import Observed, observe

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
_ROUNDING = 1e-9  # 0.9 * 490 must not be one row more than 441


class FoundationSettings(Protocol):
    """The sections that decide on the matrix."""

    @property
    def data(self) -> DataSettings: ...  # noqa: D102
    @property
    def universe(self) -> UniverseSettings: ...  # noqa: D102
    @property
    def discovery(self) -> DiscoverySettings: ...  # noqa: D102
    @property
    def backtest(self) -> BacktestSettings: ...  # noqa: D102
    @property
    def allocation(self) -> AllocationSettings: ...  # noqa: D102


@dataclass(frozen=True)
class Universe:
    """Who is to be judged.

    pool, reference : symbols; benchmarks are reference columns that rule 9 does not touch
    adv : USD per day, null where unknown; health : rows of `lake_health` by symbol
    identities : of every pool and reference symbol (benchmarks excepted)
    """

    pool: Collection[str]
    reference: Collection[str]
    benchmarks: Sequence[str]
    adv: Mapping[str, float | None]
    health: Mapping[str, Mapping[str, Any]]
    identities: Mapping[str, Identity]

    def roles(self) -> dict[str, list[Role]]:
        """Symbol to its roles before any rule."""
        reference = {*self.reference, *self.benchmarks}
        members: dict[Role, set[str]] = {"pool": set(self.pool), "reference": reference}
        return {
            symbol: [role for role in members if symbol in members[role]]
            for symbol in sorted(reference.union(self.pool))
        }


@dataclass(frozen=True)
class Matrix:
    """What the rules left.

    frame : `date` Datetime(ns, UTC) and one float64 column per symbol, sorted, without nulls
    roles : roles of each column; drops, notes, assets, window, floor, dropped_rows: as in the report
    missing_benchmarks : benchmarks that have no column
    """

    frame: pl.DataFrame
    roles: dict[str, list[Role]]
    drops: list[FoundationDrop]
    notes: list[FoundationNote]
    assets: list[AssetFacts]
    window: dict[str, Any]
    floor: dict[str, int]
    calendars: list[str]
    dropped_rows: dict[str, int]
    missing_benchmarks: list[str]


@dataclass
class _Work:
    """The state while rules run: roles shrink, drops and notes grow."""

    seen: Observed
    universe: Universe
    settings: FoundationSettings
    roles: dict[str, list[Role]]
    drops: list[FoundationDrop] = field(default_factory=list)
    notes: list[FoundationNote] = field(default_factory=list)

    def column(self, symbol: str) -> int:
        return self.seen.symbols.index(symbol)

    def members(self, role: Role) -> list[str]:
        return [symbol for symbol in sorted(self.roles) if role in self.roles[symbol]]

    def drop(self, symbol: str, veto: rules.Veto, lost: Sequence[Role]) -> None:
        left: list[Role] = [role for role in self.roles[symbol] if role not in lost]
        gone: list[Role] = [role for role in self.roles[symbol] if role in lost]
        if gone:
            self.drops.append(
                FoundationDrop(symbol=symbol, code=veto.code, value=veto.value, limit=veto.limit, roles=gone)
            )
        self.roles[symbol] = left

    def adv(self, symbols: Sequence[str]) -> Floats:
        values = [self.universe.adv.get(symbol) for symbol in symbols]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


@dataclass(frozen=True)
class _Window:
    """Positions of the union index in the day axis, and the sessions of each calendar among them."""

    days: NDArray[np.int64]
    sessions: dict[str, Mask]  # code -> mask over `days`

    def count(self, code: str) -> int:
        return int(self.sessions[code].sum())


def build_matrix(
    bars: pl.DataFrame,
    sessions: pl.DataFrame,
    universe: Universe,
    settings: FoundationSettings,
    as_of: date,
    annualisation: int,
) -> Matrix:
    """Apply rules 1 to 10 of the constitution.

    Parameters
    ----------
    bars : symbol, date, close; rows after `as_of` and of other symbols are ignored
    sessions : code, date of the exchange calendars; `24x7` needs none
    annualisation : sessions per year, for the volatility of the peg rule

    Raises `CALENDAR_UNKNOWN` (exit 2), `CALENDAR_RANGE` and `L0_DUPLICATE` (exit 3). An empty pool is
    no error here: the frame then has no rows.
    """
    roles = universe.roles()
    calendars = {symbol: calendar_of(symbol, settings.data.calendars) for symbol in roles}
    work = _Work(observe(bars, sessions, calendars, as_of), universe, settings, roles)
    _judge_availability(work)
    window = _window(work)
    _judge_behaviour(work, window)
    _judge_kind(work, window, annualisation)
    _judge_duplicates(work, window, "pool")
    _judge_duplicates(work, window, "reference")
    rows = _judge_density(work, window)
    _judge_reference(work, window, rows)
    return _result(work, window, rows)


def _judge_availability(work: _Work) -> None:
    seen = work.seen
    for i, symbol in enumerate(seen.symbols):
        veto = rules.availability(
            int(seen.bars[i]), int(seen.off_calendar[i]), int(seen.invalid[i]),
            work.universe.health.get(symbol),
        )  # fmt: skip
        if veto:
            work.drop(symbol, veto, ("pool", "reference"))


def _window(work: _Work) -> _Window:
    """The last `lookback_days` sessions on which some surviving asset could have a return.

    Sessions before the first and after the last observed return are nobody's gap.
    """
    seen = work.seen
    alive = [i for i, symbol in enumerate(seen.symbols) if work.roles[symbol]]
    codes = sorted({seen.calendars[i] for i in alive})
    observed = np.flatnonzero(np.isfinite(seen.returns[:, alive]).any(axis=1))
    if not observed.size:
        return _Window(np.zeros(0, dtype=np.int64), {code: np.zeros(0, dtype=np.bool_) for code in codes})
    union = np.any([seen.masks[code] for code in codes], axis=0)
    days = np.flatnonzero(union)
    days = days[(days >= observed[0]) & (days <= observed[-1])][-work.settings.data.lookback_days :]
    return _Window(days, {code: seen.masks[code][days] for code in codes})


def _judge_behaviour(work: _Work, window: _Window) -> None:
    for symbol in [s for s in work.seen.symbols if work.roles[s]]:
        i = work.column(symbol)
        column = work.seen.returns[window.days, i]
        sessions = window.count(work.seen.calendars[i])
        veto = rules.behaviour(column, sessions, work.settings.data)
        if veto:
            work.drop(symbol, veto, ("pool", "reference"))
        else:
            _note_large_move(work, window, symbol, column)


def _note_large_move(work: _Work, window: _Window, symbol: str, column: Floats) -> None:
    size = np.abs(np.where(np.isfinite(column), column, 0.0))
    at = int(size.argmax())
    limit = work.settings.data.toxicity.warn_abs_return
    if size[at] > limit:
        day = day_at(work.seen.first, window.days[at]).isoformat()
        work.notes.append(
            FoundationNote(
                level="WARN", code="L0_LARGE_MOVE", symbol=symbol,
                message=f"{symbol} moved by {column[at]:+.2f} on {day}",
                details={"date": day, "value": float(column[at]), "limit": limit},
            )
        )  # fmt: skip


def _judge_kind(work: _Work, window: _Window, annualisation: int) -> None:
    """Rule 9: stable, leveraged, pegged. A benchmark keeps its reference role whatever it is."""
    universe = work.settings.universe
    for symbol in [s for s in work.seen.symbols if work.roles[s]]:
        lost: tuple[Role, ...] = ("pool",) if symbol in work.universe.benchmarks else ("pool", "reference")
        if set(work.roles[symbol]).isdisjoint(lost):
            continue
        identity = work.universe.identities[symbol]
        i = work.column(symbol)
        veto = None
        if identity.stable and not universe.include_stables:
            veto = rules.Veto("STABLE_LISTED")
        elif identity.leveraged:
            veto = rules.Veto("LEVERAGED_TOKEN")
        elif not (identity.stable and universe.include_stables):
            returns, closes = work.seen.returns[window.days, i], work.seen.closes[window.days, i]
            veto = rules.pegged(returns, closes, universe.peg, annualisation)
        if veto:
            work.drop(symbol, veto, lost)


def _judge_duplicates(work: _Work, window: _Window, role: Role) -> None:
    names = [s for s in work.members(role) if role == "pool" or s not in work.universe.benchmarks]
    if len(names) < 2:
        return
    values = work.seen.returns[window.days][:, [work.column(s) for s in names]]
    limit = work.settings.universe.dup_corr
    for found in duplicates(values, names, work.adv(names), limit):
        work.drop(names[found.column], rules.Veto("IDENTITY_DUPLICATE", found.correlation, limit), (role,))


def _judge_density(work: _Work, window: _Window) -> Mask:
    """Rule 10 over the common sessions of the pool; returns the kept rows of the window."""
    names = work.members("pool")
    columns = [work.column(s) for s in names]
    if not names:
        return np.zeros(window.days.size, dtype=np.bool_)
    codes = sorted({work.seen.calendars[i] for i in columns})
    common = np.all([window.sessions[code] for code in codes], axis=0)
    data = work.settings.data
    target = max(data.min_days_floor, _at_least(data.min_row_retention, int(common.sum())))
    values = work.seen.returns[window.days[common]][:, columns]
    dense, _, removals = dense_rows(values, names, work.adv(names), floor=data.min_days_floor, target=target)
    for removal in removals:
        veto = rules.Veto("DENSITY_DROP", float(removal.rows_before), float(target))
        work.drop(names[removal.column], veto, ("pool",))
    rows = np.zeros(window.days.size, dtype=np.bool_)
    rows[np.flatnonzero(common)[dense]] = bool(work.members("pool"))
    return rows


def _judge_reference(work: _Work, window: _Window, rows: Mask) -> None:
    """A column without the pool role must have a value on every kept row."""
    kept = window.days[rows]
    for symbol in work.members("reference"):
        gaps = int(np.isnan(work.seen.returns[kept, work.column(symbol)]).sum())
        if gaps and "pool" not in work.roles[symbol]:
            work.drop(symbol, rules.Veto("REFERENCE_GAP", float(gaps), 0.0), ("reference",))
            work.notes.append(
                FoundationNote(
                    level="INFO", code="REFERENCE_GAP", symbol=symbol,
                    message=f"{symbol} has no return on {gaps} of {kept.size} kept rows",
                    details={"rows": gaps},
                )
            )  # fmt: skip


def _result(work: _Work, window: _Window, rows: Mask) -> Matrix:
    seen, data = work.seen, work.settings.data
    roles = {symbol: work.roles[symbol] for symbol in seen.symbols if work.roles[symbol]}
    floor = _floor(work, window)
    calendars = sorted({seen.calendars[work.column(symbol)] for symbol in roles})
    return Matrix(
        frame=_frame(work, window, rows, list(roles)),
        roles=roles,
        drops=sorted(work.drops, key=lambda d: (d.symbol, d.code, d.roles)),
        notes=sorted(work.notes, key=lambda n: (n.level != "WARN", n.code, n.symbol or "")),
        assets=[_facts(work, window, symbol) for symbol in roles],
        window=_span(work, window),
        floor={"configured": data.min_days_floor, "effective": floor},
        calendars=calendars,
        dropped_rows={code: window.count(code) - int(rows.sum()) for code in calendars},
        missing_benchmarks=[s for s in dict.fromkeys(work.universe.benchmarks) if s not in roles],
    )


def _floor(work: _Work, window: _Window) -> int:
    """Observations that an asset really needs; noted where rule 8 asks for more than rule 4."""
    data = work.settings.data
    sessions = max((window.count(code) for code in window.sessions), default=0)
    floor = max(data.min_days_floor, _at_least(1.0 - data.max_gap_share, sessions))
    if floor > data.min_days_floor:
        work.notes.append(
            FoundationNote(
                level="INFO", code="FLOOR_DOMINATED",
                message=f"data.min_days_floor {data.min_days_floor} is moot: {floor} of {sessions} sessions"
                " are needed",
                details={"configured": data.min_days_floor, "effective": floor},
            )
        )  # fmt: skip
    return floor


def _at_least(share: float, sessions: int) -> int:
    return ceil(share * sessions - _ROUNDING)


def _facts(work: _Work, window: _Window, symbol: str) -> AssetFacts:
    i = work.column(symbol)
    column = work.seen.returns[window.days, i]
    seen = column[np.isfinite(column)]
    return AssetFacts(
        symbol=symbol,
        roles=work.roles[symbol],
        n_obs=int(seen.size),
        gap_share=1.0 - seen.size / window.count(work.seen.calendars[i]),
        zero_share=rules.zero_share(seen),
        adv=work.universe.adv.get(symbol),
    )


def _span(work: _Work, window: _Window) -> dict[str, Any]:
    if not window.days.size:
        return {"first": None, "last": None, "sessions": 0}
    first, last = (day_at(work.seen.first, window.days[i]).isoformat() for i in (0, -1))
    return {"first": first, "last": last, "sessions": int(window.days.size)}


def _frame(work: _Work, window: _Window, rows: Mask, symbols: list[str]) -> pl.DataFrame:
    kept = window.days[rows]
    dates = pl.Series("date", [day_at(work.seen.first, day) for day in kept], dtype=pl.Date)
    values = {s: work.seen.returns[kept, work.column(s)] for s in symbols}
    return pl.DataFrame(
        {"date": dates.cast(pl.Datetime("ns")).dt.replace_time_zone("UTC"), **values},
        schema_overrides=dict.fromkeys(symbols, pl.Float64),
    )
