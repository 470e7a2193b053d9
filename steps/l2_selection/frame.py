"""The typed feature frame: one row per candidate, every column declared, direction applied exactly once.

The only active filters read the decision row, so the frame takes the newest store row of each pool
symbol and `features_matrix` keeps just these rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from quantctl.contracts.errors import ContractError, DataMissing
from quantctl.contracts.frames.features import DIRECTIONAL, FEATURES, INVARIANT, SIGNED, SWAPPED
from quantctl.contracts.logical import logical_hash
from quantctl.contracts.stage import Finding, Outcome, RunFacts, Tagged, stage
from quantctl.steps.l2_selection.candidates import require_columns

if TYPE_CHECKING:
    from quantctl.contracts.records.candidates import RawPool
    from quantctl.contracts.records.foundation import FoundationReport

MAX_AGE = 3  # sessions between a feature row and the decision
ALWAYS_OPEN = ("24x7", "XCRY", "CRYPTO")
OBSERVATIONS = ("n_obs_120", "n_obs_252")

# Domains of level L1; a bound is inclusive and null is open.
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    **dict.fromkeys(("recommend_all", "recommend_ma", "recommend_other"), (-1.0, 1.0)),
    **dict.fromkeys(("adx_14", "dmp_14", "dmn_14"), (0.0, 100.0)),
    **dict.fromkeys(("entropy", "efficiency", "hurst", "turbulence"), (0.0, 1.0)),
    **dict.fromkeys(("gap_share", "regime_survival"), (0.0, 1.0)),
    **dict.fromkeys(("stability", "adv_30", "vol_30", "n_bars"), (0.0, None)),
}


@stage("selection.features", writes=("features_matrix", "selection_features"))
def build_features(
    portfolio_candidates_raw: RawPool,
    foundation_report: FoundationReport,
    lake_features_latest: pl.DataFrame,
    lake_sessions: pl.DataFrame,
    run: RunFacts,
) -> Outcome:
    """Build the typed feature frame of the candidates that foundation kept."""
    pool = pool_atoms(portfolio_candidates_raw, foundation_report.column_roles)
    symbols = sorted({row["symbol"] for row in pool})
    store = lake_features_latest.filter(pl.col("symbol").is_in(symbols)).sort("symbol", "date")
    frame = feature_frame(pool, store, lake_sessions, date.fromisoformat(run.as_of))
    tags = {"snapshot": run.snapshot, "features_matrix": logical_hash(store, ("symbol", "date"))}
    stale = frame.filter(pl.col("feature_age").is_null() | (pl.col("feature_age") > MAX_AGE)).height
    return Outcome(
        outputs={"features_matrix": Tagged(store, tags), "selection_features": Tagged(frame, tags)},
        findings=_stale_finding(stale),
        metrics={"candidates": frame.height, "symbols": len(symbols), "stale": stale},
    )


def pool_atoms(pool: RawPool, roles: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Raw-pool rows without a veto whose symbol is a pool column of the returns matrix, as plain rows."""
    kept = (row for row in pool.rows if not row.vetoes and "pool" in roles.get(row.symbol, ()))
    return [_identity(row) for row in sorted(kept, key=lambda row: row.atom)]


def _identity(row: Any) -> dict[str, Any]:
    names = (
        "atom", "symbol", "logic", "direction", "exchange", "asset_type", "base_identity", "calendar",
        "tick_size", "lot_size", "price_precision", "metadata_provenance",
    )  # fmt: skip
    return {name: getattr(row, name) for name in names}


_POOL_SCHEMA = {
    "atom": pl.String, "symbol": pl.String, "logic": pl.String, "direction": pl.String, "exchange": pl.String,
    "asset_type": pl.String, "base_identity": pl.String, "calendar": pl.String, "tick_size": pl.Float64,
    "lot_size": pl.Float64, "price_precision": pl.Int32, "metadata_provenance": pl.String,
}  # fmt: skip


def feature_frame(
    pool: Sequence[dict[str, Any]], store: pl.DataFrame, sessions: pl.DataFrame, as_of: date
) -> pl.DataFrame:
    """The feature frame of `pool` at `as_of`, sorted by atom.

    Parameters
    ----------
    pool : rows with identity, direction, calendar and execution metadata
    store : newest feature row per symbol with date ≤ `as_of`
    sessions : calendar sessions (code, date)

    Raises `FEATURE_COLUMN_MISSING` and `FEATURE_OUT_OF_BOUNDS` (exit 3). A symbol without a row has
    null features and a null `feature_age`.
    """
    twins = [f"{name}_s" for name in DIRECTIONAL]
    require_columns(store, ["symbol", "date", *OBSERVATIONS, *FEATURES, *twins])
    _check_bounds(store)
    rows = pl.DataFrame(list(pool), schema=_POOL_SCHEMA)
    joined = rows.join(
        store.select("symbol", pl.col("date").alias("feature_date"), *OBSERVATIONS, *FEATURES, *twins),
        on="symbol", how="left", maintain_order="left",
    )  # fmt: skip
    ages = [
        _age(found, code, sessions, as_of)
        for found, code in joined.select("feature_date", "calendar").iter_rows()
    ]
    return joined.select(
        "atom", "symbol", "logic", "direction", "exchange", "asset_type", "base_identity",
        pl.lit(value=True).alias("direction_applied"),
        pl.col("feature_date").cast(pl.Date),
        pl.Series("feature_age", ages, dtype=pl.Int32),
        *(pl.col(name).cast(pl.Int32) for name in OBSERVATIONS),
        pl.when(pl.col("calendar").is_in(ALWAYS_OPEN)).then(365).otherwise(252)
        .cast(pl.Int32).alias("annualisation"),
        "tick_size", "lot_size", "price_precision", "metadata_provenance",
        *(column.cast(pl.Float64) for column in _directed()),
    ).sort("atom")  # fmt: skip


def _directed() -> list[pl.Expr]:
    """Feature columns as the leg of each row sees them."""
    short = pl.col("direction") == "SHORT"
    swap = dict(zip(SWAPPED, reversed(SWAPPED), strict=True))
    turned = {name: pl.col(f"{name}_s") for name in DIRECTIONAL}
    turned |= {name: -pl.col(name) for name in SIGNED}
    turned |= {name: pl.col(swap[name]) for name in SWAPPED}
    legs = [pl.when(short).then(other).otherwise(pl.col(name)).alias(name) for name, other in turned.items()]
    return [*legs, *(pl.col(name) for name in INVARIANT)]


def _check_bounds(store: pl.DataFrame) -> None:
    for name, (low, high) in BOUNDS.items():
        values = store.get_column(name).cast(pl.Float64).to_numpy()
        wrong = np.zeros(len(values), dtype=bool)
        wrong |= (values < low) if low is not None else False
        wrong |= (values > high) if high is not None else False
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            symbol = store.get_column("symbol")[row]
            raise ContractError(
                "FEATURE_OUT_OF_BOUNDS",
                f"{name} of {symbol} is {values[row]:g}, outside [{low}, {high}]",
                where=f"features_daily:{name}:{symbol}",
                remedy="quantctl data features",
                details={"column": name, "rows": int(wrong.sum())},
            )


def _age(found: date | None, code: str, sessions: pl.DataFrame, as_of: date) -> int | None:
    """Sessions of the calendar after `found` up to and including `as_of`; null without a row."""
    if found is None:
        return None
    days = sessions.filter(pl.col("code") == code).get_column("date")
    if not days.len():
        if code in ALWAYS_OPEN:
            return (as_of - found).days
        raise DataMissing("SESSIONS_MISSING", f"the snapshot has no sessions of calendar {code}", where=code)
    return int(((days > found) & (days <= as_of)).sum())


def _stale_finding(stale: int) -> list[Finding]:
    if not stale:
        return []
    message = f"{stale} candidates have no feature row of the last {MAX_AGE} sessions"
    return [Finding(level="WARN", code="FEATURE_STALE", message=message, details={"candidates": stale})]
