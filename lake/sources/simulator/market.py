"""The simulated market: bars with the defects that real ones have, and instrument rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.errors import ConfigError
from quantctl.lake.sources.calendars import calendar_code, sessions
from quantctl.lake.sources.simulator.bars import Grid, grid
from quantctl.lake.sources.simulator.names import generated
from quantctl.lake.sources.simulator.paths import SECTORS, Array, Paths, paths

MIN_SYMBOLS, MAX_SYMBOLS = 12, 2000
MIN_DAYS, MAX_DAYS = 60, 5000


@dataclass(frozen=True)
class Simulation:
    """What to simulate. `days` counts sessions of the calendar from `start` on."""

    seed: int = 7
    symbols: int = 120
    days: int = 800
    start: date = date(2023, 1, 1)
    calendar: str = "24x7"
    exchange: str = "BINANCE"


@dataclass(frozen=True)
class SimulatedMarket:
    """bars : symbol, date, open, high, low, close, volume, quote_volume, trades (with duplicates)
    instruments : symbol, base, quote, asset_type, sector, digits, first, last, ended, one row each
    sessions : code, date, open, close of the simulated range
    """

    bars: pl.DataFrame
    instruments: pl.DataFrame
    sessions: pl.DataFrame


def simulate(what: Simulation) -> SimulatedMarket:
    """Make a market; the same `what` gives the same values on any machine.

    Asset 0 (`BTCUSDT`; on an exchange calendar the first name) is clean and complete. Some assets are
    listed late or end early, a few have gaps, repeated rows or one toxic print; a crypto market also
    has a stable coin and a leveraged pair. Raises `SIMULATION_SIZE` (exit 2) outside 12 to 2,000
    symbols or 60 to 5,000 days.
    """
    _check_size(what)
    crypto = calendar_code(what.calendar) == "24x7"
    days = _sessions(what)
    streams = [np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(what.seed).spawn(7)]
    path = paths(streams[:4], what.days, what.symbols, 1.0 if crypto else 0.4)
    if crypto:
        _tether(streams[5], path)
    turnover = np.exp(np.log(3.2e7) + 1.0 * streams[4].standard_normal(what.symbols))
    turnover[0] = 1.2e9
    market = grid(streams[4], path, turnover=turnover, overnight=0.0 if crypto else 0.25)
    defects = _defects(streams[6], what, crypto)
    bars = _frame(what, _names(what, crypto), days, market, defects)
    return SimulatedMarket(bars, _instruments(what, crypto, path, market, days, defects), days)


def _check_size(what: Simulation) -> None:
    if not (MIN_SYMBOLS <= what.symbols <= MAX_SYMBOLS and MIN_DAYS <= what.days <= MAX_DAYS):
        raise ConfigError(
            "SIMULATION_SIZE",
            f"{what.symbols} symbols x {what.days} days is outside {MIN_SYMBOLS}..{MAX_SYMBOLS} symbols"
            f" and {MIN_DAYS}..{MAX_DAYS} days",
            remedy="choose other --symbols or --days",
        )


def _sessions(what: Simulation) -> pl.DataFrame:
    span = what.days if calendar_code(what.calendar) == "24x7" else what.days * 8 // 5 + 40
    found = sessions(what.calendar, what.start, what.start + timedelta(days=span))
    return found.head(what.days)


def _names(what: Simulation, crypto: bool) -> list[str]:
    """Base names by position: in a crypto market BTC, ETH, a stable coin and a leveraged pair first."""
    fixed = ["BTC", "ETH", "USDC", "ETHUP", "ETHDOWN"] if crypto else []
    return fixed + generated(what.symbols - len(fixed))


def _tether(rng: np.random.Generator, path: Paths) -> None:
    """Columns 2 to 4 become a stable coin and two daily-levered versions of column 1."""
    days = path.returns.shape[0]
    level = 1.0 + 0.0004 * rng.standard_normal(days + 1)
    path.returns[:, 2], path.volatility[:, 2] = level[1:] / level[:-1] - 1.0, 0.0004
    for column, factor in ((3, 2.0), (4, -2.0)):
        path.returns[:, column] = np.clip(factor * path.returns[:, 1] - 0.0003, -0.6, 1.4)
        path.volatility[:, column] = abs(factor) * path.volatility[:, 1]


@dataclass(frozen=True)
class _Defects:
    """first, last : (n,) rows of the first and last bar; holes, repeats, prints : (row, column) pairs."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    holes: list[tuple[int, int]]
    repeats: list[tuple[int, int]]
    prints: list[tuple[int, int]]


def _defects(rng: np.random.Generator, what: Simulation, crypto: bool) -> _Defects:
    fixed = 5 if crypto else 1
    order = fixed + rng.permutation(what.symbols - fixed)
    cuts = np.cumsum([max(1, round(what.symbols * share)) for share in (0.10, 0.03, 0.02, 0.015)])
    late, ended, holed, repeated = np.split(order, cuts)[:4]
    toxic = order[cuts[-1]]
    first = np.zeros(what.symbols, dtype=np.int64)
    last = np.full(what.symbols, what.days - 1, dtype=np.int64)
    first[late] = rng.integers(what.days // 4, what.days - 40, len(late))
    last_quarter = what.days * 3 // 4
    last[ended] = rng.integers(last_quarter, max(what.days - 15, last_quarter + 1), len(ended))
    recent = what.days // 2
    holes = [(int(rng.integers(recent, what.days - 20)) + k, int(c)) for c in holed for k in range(3)]
    repeats = [(int(rng.integers(recent, what.days - 5)), int(c)) for c in repeated]
    return _Defects(first, last, holes, repeats, [(int(rng.integers(recent, what.days - 10)), int(toxic))])


def _frame(
    what: Simulation, names: list[str], days: pl.DataFrame, market: Grid, found: _Defects
) -> pl.DataFrame:
    """Rows of every (symbol, session) that has a bar, by symbol and date, repeated rows at the end."""
    close, high = market.close.copy(), market.high.copy()
    for row, column in found.prints:
        close[row, column] = np.round(close[row, column] * 8.5, int(market.digits[column]))
        high[row, column] = max(high[row, column], close[row, column])
    rows = np.arange(what.days)[:, None]
    present = (rows >= found.first) & (rows <= found.last)
    for row, column in found.holes:
        present[row, column] = False
    keep = present.T.ravel()
    symbols = pl.Series([_symbol(what, name) for name in names]).gather(
        np.repeat(np.arange(what.symbols), what.days)
    )
    frame = pl.DataFrame({
        "symbol": symbols,
        "date": days["date"].gather(np.tile(np.arange(what.days), what.symbols)),
        "open": market.open.T.ravel(), "high": high.T.ravel(), "low": market.low.T.ravel(),
        "close": close.T.ravel(), "volume": market.volume.T.ravel(),
        "quote_volume": market.quote_volume.T.ravel(), "trades": market.trades.T.ravel(),
    })  # fmt: skip
    again = [column * what.days + row for row, column in found.repeats if present[row, column]]
    return pl.concat([frame.filter(pl.Series(keep)), frame[again]])


def _symbol(what: Simulation, base: str) -> str:
    quote = "USDT" if calendar_code(what.calendar) == "24x7" else ""
    return f"{what.exchange}:{base}{quote}"


def _instruments(
    what: Simulation, crypto: bool, path: Paths, market: Grid, days: pl.DataFrame, found: _Defects
) -> pl.DataFrame:
    names = _names(what, crypto)
    return pl.DataFrame({
        "symbol": [_symbol(what, name) for name in names],
        "base": names,
        "quote": ["USDT" if crypto else "USD"] * what.symbols,
        "asset_type": ["spot" if crypto else "equity"] * what.symbols,
        "sector": [SECTORS[i] for i in path.sector],
        "digits": market.digits,
        "first": days["date"].gather(found.first),
        "last": days["date"].gather(found.last),
        "ended": found.last < what.days - 1,
    })  # fmt: skip


def as_exchange_info(market: SimulatedMarket) -> dict[str, object]:
    """Instrument rules in the shape of a venue's `exchangeInfo`, as of the last simulated session."""
    served = market.sessions["close"][-1]
    return {
        "timezone": "UTC",
        "serverTime": int(served.timestamp() * 1000),
        "symbols": [_instrument(row) for row in market.instruments.iter_rows(named=True)],
    }


def _instrument(row: dict[str, object]) -> dict[str, object]:
    tick = f"{10.0 ** -int(str(row['digits'])):.12f}"
    return {
        "symbol": str(row["symbol"]).partition(":")[2],
        "status": "BREAK" if row["ended"] else "TRADING",
        "baseAsset": row["base"],
        "quoteAsset": row["quote"],
        "isSpotTradingAllowed": True,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000",
                "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": "0.01000000", "maxQty": "9000000.00000000",
                "stepSize": "0.01000000"},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True},
        ],
    }  # fmt: skip


__all__ = ["Array", "SimulatedMarket", "Simulation", "as_exchange_info", "simulate"]
