"""The identity kernel: spellings, multipliers, lookalikes, leveraged tokens, representatives."""

from __future__ import annotations

import itertools

import polars as pl
import pytest

from quantctl.contracts.settings.discovery import STABLE_BASES
from quantctl.contracts.settings.universe import WRAPPED
from quantctl.steps.l0_foundation.identity import identify, identify_table
from quantctl.steps.l0_foundation.representative import Member, losers, representative


@pytest.mark.parametrize(
    "symbol",
    [
        "BINANCE:BTCUSDT", "BINANCE:BTCUSDT.P", "OKX:BTC-USDT-SWAP", "OKX:BTC-USDT", "COINBASE:BTCUSD",
        "BINANCE:BTCFDUSD", "KRAKEN:BTCEUR", "BYBIT:BTCUSDC.P", "BINANCE:BTCUSDT_240628", "FTX:BTC-PERP",
        "GATE:BTC_USDT", "BYBIT:BTCUSDTH2025", "BINANCE:WBTCUSDT",
    ],
)  # fmt: skip
def test_every_spelling_of_bitcoin_is_one_base(symbol):
    assert identify(symbol, wrapped=WRAPPED).base_identity == "BTC"


@pytest.mark.parametrize(
    ("symbol", "coin", "multiplier"),
    [
        ("BINANCE:1000SATSUSDT", "SATS", 1000), ("BINANCE:1MBABYDOGEUSDT.P", "BABYDOGE", 1_000_000),
        ("BINANCE:1000000MOGUSDT.P", "MOG", 1_000_000), ("BYBIT:10000LADYSUSDT.P", "LADYS", 10_000),
        ("BYBIT:SHIB1000USDT.P", "SHIB", 1000), ("BINANCE:1000XUSDT", "1000X", 1),
    ],
)  # fmt: skip
def test_multiplier_contracts_join_their_coin(symbol, coin, multiplier):
    found = identify(symbol)
    assert (found.base_identity, found.multiplier) == (coin, multiplier)


def test_two_letter_rest_joins_only_a_known_base():
    assert identify("BINANCE:1000XYUSDT").base_identity == "1000XY"
    assert identify("BINANCE:1000XYUSDT", known_bases={"XY"}).base_identity == "XY"


@pytest.mark.parametrize("base", ["1INCH", "2Z", "0G", "4", "G", "ESPORTS", "GCOIN", "CLV", "NQX"])
def test_digits_and_futures_root_lookalikes_keep_their_name(base):
    assert identify(f"BINANCE:{base}USDT.P").base_identity == base


def test_six_letter_crypto_pair_is_no_currency_pair():
    assert identify("BINANCE:BTCEUR").base_identity == "BTC"
    assert identify("OANDA:EURUSD").base_identity == "EURUSD"


@pytest.mark.parametrize(("symbol", "root"), [("CME_MINI:ES1!", "ES"), ("CME:6EZ2024", "6E")])
def test_futures_take_the_root_of_a_whole_contract_name(symbol, root):
    assert identify(symbol, asset_type="futures").base_identity == root


def test_futures_name_that_is_no_contract_is_unresolved():
    assert identify("CME:ESOMETHING", asset_type="futures").code == "IDENTITY_UNRESOLVED"


def test_equity_is_its_ticker_and_metadata_wins_over_the_name():
    assert identify("NASDAQ:GBPUSD", asset_type="etf").base_identity == "GBPUSD"
    assert identify("BINANCE:GMTUSD", base="GMT", quote="USD").base_identity == "GMT"


def test_pair_without_known_quote_is_unresolved():
    assert identify("BINANCE:FOOXXX").code == "IDENTITY_UNRESOLVED"


def test_leveraged_tokens_are_caught_and_coins_ending_in_up_are_kept():
    names = ["BTC", "BTCUP", "BTCDOWN", "ETH", "ETH3L", "JUP", "SYRUP", "EURC", "WBETH"]
    table = pl.DataFrame(
        {"symbol": [f"BINANCE:{n}USDT" for n in names], "base": names, "quote": "USDT", "asset_type": "spot"}
    )
    found = identify_table(table, wrapped=WRAPPED, stable_bases=STABLE_BASES)
    assert [n for n, yes in zip(names, found["leveraged"], strict=True) if yes] == [
        "BTCUP",
        "BTCDOWN",
        "ETH3L",
    ]
    assert [n for n, yes in zip(names, found["stable"], strict=True) if yes] == ["EURC"]
    assert found["base_identity"][-1] == "ETH"


MEMBERS = [
    Member("OKX:BTCUSDT", "USDT", 60.0), Member("BINANCE:BTCUSDT", "USDT", 35.0),
    Member("BINANCE:BTCFDUSD", "FDUSD", 100.0), Member("BINANCE:BTCUSDC", "USDC", 5.0),
]  # fmt: skip


def test_representative_does_not_depend_on_input_order():
    found = {representative(list(p), ["BINANCE"]).symbol for p in itertools.permutations(MEMBERS)}
    assert found == {"BINANCE:BTCUSDT"}


def test_illiquid_preferred_venue_yields_and_losers_are_ordered():
    members = [MEMBERS[0], MEMBERS[1]._replace(liquidity=20.0), MEMBERS[3]]
    chosen = representative(members, ["BINANCE"])
    assert chosen.symbol == "OKX:BTCUSDT"
    assert [m.symbol for m in losers(members, chosen)] == ["BINANCE:BTCUSDT", "BINANCE:BTCUSDC"]
