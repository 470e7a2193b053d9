"""The representative of an identity: a total order over its members, whatever their input order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

QUOTE_ORDER: tuple[str, ...] = ("USDT", "USDC", "FDUSD", "BUSD", "DAI", "USD")
QUOTE_SHARE = 0.30
VENUE_SHARE = 0.50


class Member(NamedTuple):
    """One listing of an identity. `liquidity` is `adv` at selection, `value_traded` at discovery."""

    symbol: str
    quote: str | None
    liquidity: float | None

    @property
    def exchange(self) -> str:
        """Venue prefix of the symbol."""
        return self.symbol.split(":", 1)[0]


def representative(members: Sequence[Member], exchange_priority: Sequence[str]) -> Member:
    """The member that stands for its identity.

    Quotes whose best member has at least 30 % of the largest liquidity come first in a fixed order;
    within the quote, venues with at least 50 % of its largest, by priority; then larger liquidity
    and smaller symbol. Unknown liquidity ranks as none. `members` holds one or more.
    """
    quotes = _near_largest(members, [m.quote or "" for m in members], QUOTE_SHARE)
    quote = min(quotes, key=lambda q: _place(q, QUOTE_ORDER))
    within = [m for m in members if (m.quote or "") == quote]
    venues = _near_largest(within, [m.exchange for m in within], VENUE_SHARE)
    venue = min(venues, key=lambda v: _place(v, exchange_priority))
    return min((m for m in within if m.exchange == venue), key=_by_liquidity)


def losers(members: Sequence[Member], chosen: Member) -> list[Member]:
    """The other members, larger liquidity first, then smaller symbol."""
    return sorted((m for m in members if m.symbol != chosen.symbol), key=_by_liquidity)


def _near_largest(members: Sequence[Member], keys: Sequence[str], share: float) -> list[str]:
    best: dict[str, float] = {}
    for member, key in zip(members, keys, strict=True):
        best[key] = max(best.get(key, 0.0), member.liquidity or 0.0)
    largest = max(best.values())
    return [key for key, value in best.items() if value >= share * largest]


def _place(name: str, order: Sequence[str]) -> tuple[int, bool, str]:
    return (order.index(name) if name in order else len(order), name == "", name)


def _by_liquidity(member: Member) -> tuple[float, str]:
    return (-(member.liquidity or 0.0), member.symbol)
