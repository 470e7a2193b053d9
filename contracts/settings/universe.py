"""The universe: floors, identities and pegs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from quantctl.contracts.settings.section import AtLeastOne, Count, Fraction, NonNegative, Section

WRAPPED: dict[str, str] = {
    "BBTC": "BTC", "BTCB": "BTC", "RENBTC": "BTC", "WBTC": "BTC",
    "BETH": "ETH", "STETH": "ETH", "WBETH": "ETH", "WETH": "ETH", "WSTETH": "ETH",
    "WBNB": "BNB", "BNSOL": "SOL", "WSOL": "SOL",
}  # fmt: skip


class PegSettings(Section):
    """`universe.peg.*`: the behavioural test for a pegged price."""

    window: Annotated[int, Field(ge=2)] = Field(90, description="Last returns that are examined, in bars.")
    vol_max: NonNegative = Field(0.02, description="Annualised volatility below which a price is pegged.")
    share: Fraction = Field(0.95, description="Share of closes near 1.0 that marks a peg.")
    band: Fraction = Field(0.01, description="Distance from 1.0, in quote units, that counts as near.")


class UniverseSettings(Section):
    """`universe.*`: which symbols may become candidates."""

    total_limit: AtLeastOne = Field(200, description="Largest pool, by average daily turnover.")
    reference_limit: Count = Field(50, description="Most liquid symbols kept as reference columns.")
    dup_corr: Fraction = Field(0.995, description="Raw correlation above which two symbols are one identity.")
    accept_inferred_metadata: bool = Field(
        False, description="Whether ticks inferred from the decimals of bars count as present."
    )
    allow_unknown_liquidity: bool = Field(
        False, description="Whether a candidate without any known turnover is eligible."
    )
    current_bar_min: NonNegative = Field(1e6, description="Floor on the turnover of the scanned bar, in USD.")
    volatility_d_min: NonNegative = Field(0.1, description="Floor on the scanned day's range, in per cent.")
    daily_turnover_min: NonNegative = Field(1e7, description="Floor on adv_30, in USD per day.")
    daily_vol_min: NonNegative = Field(0.01, description="Floor on vol_30, a daily standard deviation.")
    include_stables: bool = Field(False, description="Whether listed stablecoins stay in the pool.")
    exchange_priority: tuple[str, ...] = Field(
        ("BINANCE",), description="Venues preferred as the representative of an identity, best first."
    )
    wrapped: dict[str, str] = Field(WRAPPED, description="Wrapped token to the base that it stands for.")
    peg: PegSettings = Field(default_factory=PegSettings, description="The behavioural test for pegs.")
