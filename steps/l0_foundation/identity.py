"""One identity kernel: what a symbol stands for, whatever the venue or quote spells.

Symbol metadata decides, asset class first; parsing of the name is the fallback. Selection,
discovery and import use this kernel, so that no two rooms disagree about a coin.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

AssetClass = Literal["crypto", "fx", "equity", "futures"]

QUOTES: tuple[str, ...] = (
    "FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USDS", "DAI", "USD", "EUR", "GBP",
    "JPY", "TRY", "BRL", "ARS", "IDR", "ZAR", "UAH", "VND", "THB", "PHP",
)  # fmt: skip
LEVERAGE_SUFFIXES: tuple[str, ...] = ("UP", "DOWN", "BULL", "BEAR", "2L", "2S", "3L", "3S", "5L", "5S")
_MULTIPLIERS: tuple[tuple[str, int], ...] = (
    ("1000000", 1_000_000), ("10000", 10_000), ("1000", 1_000), ("1M", 1_000_000),
)  # fmt: skip
_VENUE_SUFFIX = re.compile(
    r"(\.P|\.F|-SWAP|-SPOT|-PERP|[-_]\d{6}|[-_]\d{8}|-\d{1,2}[A-Z]{3}\d{2}|(?<=[A-Z])[FGHJKMNQUVXZ]20\d{2})$"
)
_CONTRACT = re.compile(r"([A-Z0-9]{1,4}?)(\d!|[FGHJKMNQUVXZ](?:\d{1,2}|20\d{2}))")
_FX_VENUES = frozenset({"OANDA", "FX_IDC", "FOREX", "FX"})
_EQUITY_VENUES = frozenset({"NASDAQ", "NYSE", "AMEX", "US", "LSE", "XETR", "TSX"})
_FUTURES_VENUES = frozenset({"CME", "CME_MINI", "CBOT", "CBOT_MINI", "COMEX", "NYMEX", "ICEUS", "EUREX"})
_CLASS_OF_TYPE: dict[str, AssetClass] = {
    "fx": "fx", "forex": "fx",
    "equity": "equity", "stock": "equity", "etf": "equity", "fund": "equity", "dr": "equity",
    "futures": "futures", "future": "futures",
    "crypto": "crypto", "perp": "crypto", "perpetual": "crypto", "swap": "crypto",
}  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """What one symbol stands for.

    base_identity : the economic thing (`BTC`, `EURUSD`, `ES`), null with `code` set
    base, quote : as listed, before multiplier and wrapping; null where the class has none
    multiplier : units of the coin in one unit of the listed base (1, 1000, ...)
    leveraged, stable : crypto only; a leveraged token, a listed stablecoin or fiat base
    code : `IDENTITY_UNRESOLVED` or null
    """

    symbol: str
    asset_class: AssetClass
    base_identity: str | None
    base: str | None
    quote: str | None
    multiplier: int = 1
    leveraged: bool = False
    stable: bool = False
    code: str | None = None


def asset_class(symbol: str, asset_type: str | None) -> AssetClass:
    """Class by declared type; `spot` and unknown types go by the venue prefix, else crypto."""
    declared = _CLASS_OF_TYPE.get((asset_type or "").lower())
    venue = symbol.split(":", 1)[0]
    traditional = venue in _FX_VENUES | _EQUITY_VENUES | _FUTURES_VENUES
    if declared == "futures" and not traditional and not _CONTRACT.fullmatch(_name(symbol)):
        return "crypto"
    if declared is not None:
        return declared
    if venue in _FX_VENUES:
        return "fx"
    if venue in _EQUITY_VENUES:
        return "equity"
    return "futures" if venue in _FUTURES_VENUES else "crypto"


def identify(
    symbol: str,
    *,
    base: str | None = None,
    quote: str | None = None,
    asset_type: str | None = None,
    known_bases: Collection[str] = frozenset(),
    wrapped: Mapping[str, str] | None = None,
    stable_bases: Collection[str] = frozenset(),
) -> Identity:
    """Identity of `EXCHANGE:SYMBOL`.

    base, quote : symbol metadata where the venue publishes them; they win over the name
    known_bases : listed bases of the symbol table (the stem and multiplier rules need them)
    wrapped : `universe.wrapped`; stable_bases : `discovery.stable_bases`
    """
    kind = asset_class(symbol, asset_type)
    name = _name(symbol)
    if kind == "equity":
        return Identity(symbol, kind, base or name, base or name, quote)
    if kind == "fx":
        return _fx(symbol, name, base, quote)
    if kind == "futures":
        contract = _CONTRACT.fullmatch(name)
        root = contract.group(1) if contract else None
        return _checked(symbol, kind, root, base or root, quote)
    parsed = (base.upper(), quote) if base else parse_pair(name)
    if parsed is None or not re.search(r"[^\W_]", parsed[0]):
        return _checked(symbol, kind, None, None, quote)
    return _crypto(symbol, parsed[0], quote or parsed[1], known_bases, wrapped or {}, stable_bases)


def parse_pair(name: str) -> tuple[str, str | None] | None:
    """Base and quote of a crypto name without its venue prefix; null if it has no known shape."""
    bare = _VENUE_SUFFIX.sub("", name)
    derivative = bare != name
    left, dash, right = bare.replace("_", "-").partition("-")
    if dash:
        return (left, right.partition("-")[0] or None) if left else None
    for shortest in (2, 1):
        for suffix in QUOTES:
            if bare.endswith(suffix) and len(bare) - len(suffix) >= shortest:
                return bare[: -len(suffix)], suffix
    return (bare, None) if derivative and bare else None


def strip_multiplier(base: str, known_bases: Collection[str]) -> tuple[str, int]:
    """Coin and multiplier of a listed base; digits that are no multiplier stay in the name."""
    for text, number in _MULTIPLIERS:
        rests = [base[len(text) :]] if base.startswith(text) else []
        if text != "1M" and base.endswith(text):
            rests.append(base[: -len(text)])
        for rest in rests:
            if rest and (rest in known_bases or sum(map(str.isalpha, rest)) >= 3):
                return rest, number
    return base, 1


def is_leveraged(base: str, known_bases: Collection[str]) -> bool:
    """True if the base is a listed base plus a leverage suffix (`BTCUP`; not `JUP`, `SYRUP`)."""
    return any(base.endswith(suffix) and base[: -len(suffix)] in known_bases for suffix in LEVERAGE_SUFFIXES)


def listed_bases(rows: Iterable[tuple[str, str | None, str | None]]) -> frozenset[str]:
    """Listed bases of crypto rows `(symbol, base, asset_type)`: metadata first, else the name."""
    found: set[str] = set()
    for symbol, base, kind in rows:
        if asset_class(symbol, kind) == "crypto":
            parsed = (base.upper(), None) if base else parse_pair(_name(symbol))
            if parsed:
                found.add(parsed[0])
    return frozenset(found)


def identify_table(
    symbols: pl.DataFrame,
    *,
    wrapped: Mapping[str, str],
    stable_bases: Collection[str],
    known_bases: Collection[str] | None = None,
) -> pl.DataFrame:
    """Identities of a symbol table with `symbol, base, quote, asset_type`, in its row order.

    Returns `symbol, base_identity, base, quote, multiplier (Int64), leveraged, stable, code`.
    `known_bases` defaults to the bases of the table itself.
    """
    rows = list(symbols.select("symbol", "base", "quote", "asset_type").iter_rows())
    bases = listed_bases((s, b, t) for s, b, _, t in rows) if known_bases is None else known_bases
    found = [
        identify(
            s, base=b, quote=q, asset_type=t, known_bases=bases, wrapped=wrapped, stable_bases=stable_bases
        )
        for s, b, q, t in rows
    ]
    text = ("symbol", "base_identity", "base", "quote", "code")
    schema = dict.fromkeys(text, pl.String) | {
        "multiplier": pl.Int64, "leveraged": pl.Boolean, "stable": pl.Boolean,
    }  # fmt: skip
    order = ["symbol", "base_identity", "base", "quote", "multiplier", "leveraged", "stable", "code"]
    return pl.DataFrame({name: [getattr(i, name) for i in found] for name in order}, schema_overrides=schema)


def _name(symbol: str) -> str:
    return symbol.rsplit(":", 1)[-1].upper()


def _checked(
    symbol: str, kind: AssetClass, identity: str | None, base: str | None, quote: str | None
) -> Identity:
    code = None if identity else "IDENTITY_UNRESOLVED"
    return Identity(symbol, kind, identity, base, quote, code=code)


def _fx(symbol: str, name: str, base: str | None, quote: str | None) -> Identity:
    letters = re.sub(r"[^A-Z]", "", name)
    left = base or (letters[:3] if len(letters) == 6 else None)
    right = quote or (letters[3:] if len(letters) == 6 else None)
    return _checked(symbol, "fx", f"{left}{right}" if left and right else None, left, right)


def _crypto(
    symbol: str,
    base: str,
    quote: str | None,
    known_bases: Collection[str],
    wrapped: Mapping[str, str],
    stable_bases: Collection[str],
) -> Identity:
    coin, multiplier = strip_multiplier(base, known_bases)
    return Identity(
        symbol,
        "crypto",
        wrapped.get(coin, coin),
        base,
        quote,
        multiplier,
        leveraged=is_leveraged(base, known_bases),
        stable=base in stable_bases,
    )
