"""The returns matrix: dense daily simple returns, one column per symbol."""

from __future__ import annotations

import polars as pl

from quantctl.contracts.errors import ContractError

DATE = pl.Datetime("ns", "UTC")


class ReturnsMatrix:
    """`date` (Datetime ns, UTC) first, then one float64 column per symbol, sorted by symbol.

    Only the shape is held here; values are judged by the L0 gate, which names what is wrong with them.
    """

    @classmethod
    def validate(cls, frame: pl.DataFrame) -> pl.DataFrame:
        """Return `frame`, or raise `ARTIFACT_CONTRACT` (exit 1)."""
        schema = dict(frame.schema)
        if next(iter(schema), None) != "date" or schema["date"] != DATE:
            raise ContractError("ARTIFACT_CONTRACT", "the first column is not `date` as Datetime(ns, UTC)")
        symbols = [name for name in schema if name != "date"]
        wrong = [name for name in symbols if schema[name] != pl.Float64]
        if wrong:
            raise ContractError("ARTIFACT_CONTRACT", f"columns are not Float64: {wrong[:3]}")
        if symbols != sorted(symbols):
            raise ContractError("ARTIFACT_CONTRACT", "columns are not sorted by symbol")
        return frame
