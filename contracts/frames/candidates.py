"""Frames of the scan: how far every symbol of the snapshot came."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl


class Funnel(pa.DataFrameModel):
    """`candidates_funnel.parquet`: one row per scanner and symbol.

    last_rule is the last rule that the symbol met; code is null for a symbol that passed them all, else
    it says which rule stopped it, with the measured value and the limit where there are numbers.
    """

    as_of: pl.Date
    scanner: str
    symbol: str
    last_rule: str = pa.Field(nullable=True)
    code: str = pa.Field(nullable=True)
    value: float = pa.Field(nullable=True)
    limit: float = pa.Field(nullable=True)

    class Config:
        """Further columns (lineage) are allowed."""

        strict = False
        unique = ("scanner", "symbol")
