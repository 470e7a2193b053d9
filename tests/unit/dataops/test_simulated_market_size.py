"""Sizes of a simulated market: the documented bounds are makeable, and what is outside them is refused."""

from __future__ import annotations

import pytest

from quantctl.contracts.errors import ConfigError
from quantctl.lake.sources.simulator.market import Simulation, simulate


@pytest.mark.parametrize("calendar", ["24x7", "XNYS"])
@pytest.mark.parametrize("days", [60, 61, 62])
def test_the_smallest_documented_markets_can_be_made(calendar: str, days: int) -> None:
    exchange = "BINANCE" if calendar == "24x7" else "NYSE"
    market = simulate(Simulation(symbols=12, days=days, calendar=calendar, exchange=exchange))
    assert market.instruments.height == 12
    assert market.sessions.height == days
    assert (market.bars["low"] <= market.bars["high"]).all()


@pytest.mark.parametrize(("symbols", "days"), [(11, 60), (12, 59), (2001, 60), (12, 5001)])
def test_a_market_outside_the_documented_bounds_is_refused(symbols: int, days: int) -> None:
    with pytest.raises(ConfigError) as refused:
        simulate(Simulation(symbols=symbols, days=days))
    assert refused.value.code == "SIMULATION_SIZE"
