"""The risk model of an allocation, enough to re-check any claim of optimality."""

from __future__ import annotations

from typing import Annotated

import pandera.polars as pa
import polars as pl


class RiskModelFrame(pa.DataFrameModel):
    """`risk_model.parquet`: one row per atom with variance, in the order of the matrix.

    vol is per bar, mu per year, beta to the benchmark (null where none was needed); corr is the atom's
    row of the conditioned correlation. Σ = A · diag(vol) corr diag(vol), A bars per year.
    """

    atom: str = pa.Field(unique=True)
    vol: float = pa.Field(gt=0)
    mu: float
    beta: float = pa.Field(nullable=True)
    corr: Annotated[pl.List, pl.Float64]

    class Config:
        """Columns are exactly these."""

        strict = True
