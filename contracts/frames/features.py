"""Frames of features: the slice of the store that a run keeps, and the frame of its candidates."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from quantctl.contracts.errors import ContractError


class FeatureStoreSlice:
    """`features_matrix.parquet`: store rows (symbol, date, one Float64 column per feature), sorted by key.

    A value is null where it is undefined, and never NaN. Bounds are those of the store's own contract.
    """

    @classmethod
    def validate(cls, frame: pl.DataFrame) -> pl.DataFrame:
        """Return `frame`, or raise `ARTIFACT_CONTRACT` (exit 1)."""
        missing = {"symbol", "date", "n_obs_120", "n_obs_252"} - set(frame.columns)
        if missing:
            raise ContractError("ARTIFACT_CONTRACT", f"columns are missing: {sorted(missing)}")
        floats = [name for name, dtype in frame.schema.items() if dtype == pl.Float64]
        if frame.select(pl.any_horizontal(pl.col(floats).is_nan().any())).item() if floats else False:
            raise ContractError("ARTIFACT_CONTRACT", "an undefined feature is NaN instead of null")
        if not frame.select("symbol", "date").is_sorted(("symbol", "date")) if frame.height else False:
            raise ContractError("ARTIFACT_CONTRACT", "rows are not sorted by symbol and date")
        return frame


# Columns of `selection_features.parquet` that hold numbers of the store; SHORT rows are transformed already.
DIRECTIONAL = ("momentum", "mom_60", "stability", "cvar", "skew", "upper_tail")  # recomputed on s: `*_s`
SIGNED = ("recommend_all", "recommend_ma", "recommend_other", "roc_9", "mom", "macd_hist", "ao")  # times -1
SWAPPED = ("dmp_14", "dmn_14")
INVARIANT = (
    "entropy", "efficiency", "hurst", "turbulence", "kurtosis", "adx_14", "adv_30", "vol_30", "volume_z",
    "regime_survival", "n_bars", "gap_share",
)  # fmt: skip
FEATURES = DIRECTIONAL + SIGNED + SWAPPED + INVARIANT

FeatureFrame = pa.DataFrameSchema(
    {
        "atom": pa.Column(str, unique=True),
        "symbol": pa.Column(str),
        "logic": pa.Column(str),
        "direction": pa.Column(str, pa.Check.isin(["LONG", "SHORT"])),
        "exchange": pa.Column(str),
        "asset_type": pa.Column(str),
        "base_identity": pa.Column(str),
        "direction_applied": pa.Column(bool),
        "feature_date": pa.Column(pl.Date, nullable=True),
        "feature_age": pa.Column(pl.Int32, nullable=True),
        "n_obs_120": pa.Column(pl.Int32, nullable=True),
        "n_obs_252": pa.Column(pl.Int32, nullable=True),
        "annualisation": pa.Column(pl.Int32),
        "tick_size": pa.Column(float, nullable=True),
        "lot_size": pa.Column(float, nullable=True),
        "price_precision": pa.Column(pl.Int32, nullable=True),
        "metadata_provenance": pa.Column(str, nullable=True),
        **{name: pa.Column(float, nullable=True) for name in FEATURES},
    },
    strict=True,
)
