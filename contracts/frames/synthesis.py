"""Frames of the synthesis: streams and gates (one column per atom) and the atom table."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from quantctl.contracts.errors import ContractError

DATE = pl.Datetime("ns", "UTC")


class DatedColumns:
    """`date` (Datetime ns, UTC, midnight) first, then one column of `dtype` per atom.

    Only the shape is held here: values are judged by the gates, which name what is wrong with them.
    """

    dtype: type[pl.DataType] = pl.Float64

    @classmethod
    def validate(cls, frame: pl.DataFrame) -> pl.DataFrame:
        """Return `frame`, or raise `ARTIFACT_CONTRACT` (exit 1)."""
        schema = dict(frame.schema)
        if next(iter(schema), None) != "date" or schema["date"] != DATE:
            raise ContractError("ARTIFACT_CONTRACT", "the first column is not `date` as Datetime(ns, UTC)")
        wrong = [name for name, dtype in schema.items() if name != "date" and dtype != cls.dtype]
        if wrong:
            raise ContractError("ARTIFACT_CONTRACT", f"columns are not {cls.dtype}: {wrong[:3]}")
        return frame


class Streams(DatedColumns):
    """`synthetic_returns.parquet`: the return stream x of every atom, decimal fractions per bar."""


class Gates(DatedColumns):
    """`synthetic_gates.parquet`: the gate in force on every row, 0 or 1; 1 for ungated atoms."""

    dtype = pl.Int8


class Atoms(pa.DataFrameModel):
    """`atoms.parquet`: the parts of every atom, which are never read from its id.

    factor is +1 LONG and -1 SHORT; deploy_gate is decided at the last close, for the next bar;
    warmup_bars counts the leading rows of the returns matrix on which the gate is undefined.
    """

    atom: str = pa.Field(unique=True)
    symbol: str
    logic: str
    direction: str = pa.Field(isin=["LONG", "SHORT"])
    factor: pl.Int8 = pa.Field(isin=[1, -1])
    family: str = pa.Field(isin=["trend", "mean_reversion", "breakout"])
    gated: bool
    deploy_gate: pl.Int8 = pa.Field(isin=[0, 1])
    timescale: str
    warmup_bars: pl.Int32 = pa.Field(ge=0)
    cluster: str
    alpha_score: float = pa.Field(ge=0, le=1)
    stage_admitted: pl.Int8 = pa.Field(ge=1, le=4)

    class Config:
        """Columns are exactly these."""

        strict = True
