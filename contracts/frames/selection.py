"""Frames of selection: scores per atom, and the null distributions that were used."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

# `selection_scores.parquet`: one row per atom of the feature frame, sorted by atom. `<metric>_raw` is in the
# metric's unit, `<metric>_prob` in [0, 1]; a null raw value has probability 0.5 and counts in `n_neutral`
# out of `n_scored` metrics with weight. Values are judged by gate `l1_l2`; the shape is held here.
Scores = pa.DataFrameSchema(
    {
        "atom": pa.Column(str, unique=True),
        "log_score": pa.Column(float, nullable=True),
        "alpha_score": pa.Column(float, nullable=True),
        "rank_score": pa.Column(float, nullable=True),
        "n_neutral": pa.Column(pl.Int32),
        "n_scored": pa.Column(pl.Int32),
        "^.*_(raw|prob)$": pa.Column(float, nullable=True, regex=True, required=False),
    },
    strict=True,
)


class NullCalibration(pa.DataFrameModel):
    """`null_calibration.parquet`: rows of the null tables that were read.

    mu0, sd0 : mean and sample standard deviation of the statistic on white noise of length n
    q... : quantiles of the same
    """

    metric: str
    n: pl.Int32 = pa.Field(ge=1)
    draws: pl.Int32 = pa.Field(ge=1)
    seed: str
    mu0: float
    sd0: float = pa.Field(ge=0)
    q001: float
    q01: float
    q05: float
    q50: float
    q95: float
    q99: float
    q999: float

    class Config:
        """Columns are exactly these."""

        strict = True
