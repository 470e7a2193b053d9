"""Which scanners feed the pool, and which bases are money."""

from __future__ import annotations

from pydantic import Field

from quantctl.contracts.settings.section import AtLeastOne, Section

STABLE_BASES: tuple[str, ...] = (
    "AEUR", "ARS", "AUD", "BFUSD", "BRL", "BUSD", "CHF", "DAI", "EUR", "EURC", "EURI", "EURS", "EURT",
    "FDUSD", "FRAX", "GBP", "GUSD", "IDR", "IDRT", "JPY", "LUSD", "NGN", "PAX", "PLN", "PYUSD", "RLUSD",
    "RON", "RUB", "SUSD", "THB", "TRY", "TUSD", "UAH", "USD", "USD1", "USDC", "USDD", "USDE", "USDP",
    "USDS", "USDSB", "USDT", "UST", "USTC", "VAI", "VND", "XUSD", "ZAR",
)  # fmt: skip


class DiscoverySettings(Section):
    """`discovery.*`: scanners and the list of stablecoins and fiat."""

    scanners: tuple[str, ...] = Field((), description="Names of the scanners whose rows form the pool.")
    stable_bases: tuple[str, ...] = Field(
        STABLE_BASES, description="Bases that are stablecoins or fiat money, euro ones included."
    )
    page_size: AtLeastOne = Field(500, description="Rows per page of a network scan.")
