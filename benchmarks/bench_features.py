"""features: CPU per symbol of the whole feature store.

The interpreter, imports and the reading of bars are not counted. One thread, set before anything is imported.
"""

from __future__ import annotations

import os

for _name in ("POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_name] = "1"

import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
from claims import Claim

from quantctl.features import AUXILIARY, CANONICAL, FeaturesSettings, RatingsSettings, compute_features

SYMBOLS = 200
ROWS = 800
REPEATS = 5


def market() -> pl.DataFrame:
    """Seeded random walks, one calendar."""
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.03, (SYMBOLS, ROWS)), axis=1)).ravel()
    size = SYMBOLS * ROWS
    days = [date(2022, 1, 1) + timedelta(i) for i in range(ROWS)]
    return pl.DataFrame(
        {
            "symbol": np.repeat([f"X:S{i:03d}" for i in range(SYMBOLS)], ROWS),
            "date": days * SYMBOLS,
            "high": close * (1 + 0.02 * rng.random(size)),
            "low": close * (1 - 0.02 * rng.random(size)),
            "close": close,
            "volume": rng.uniform(1, 9, size),
            "quote_volume": close * 5,
            "provenance": ["simulated"] * size,
            "known_at": [datetime(2022, 1, 2, tzinfo=UTC) + timedelta(i) for i in range(ROWS)] * SYMBOLS,
        }
    )


def milliseconds(work: Callable[[], object]) -> list[float]:
    """CPU per symbol of each repeat after one that is not counted."""
    work()
    spent = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        spent.append((time.process_time() - start) * 1000 / SYMBOLS)
    return spent


def main() -> int:
    """Measure, print, and judge against the budget."""
    bars = market()
    annual = dict.fromkeys(bars["symbol"].unique(maintain_order=True).to_list(), 365)
    settings = FeaturesSettings(), RatingsSettings()
    rows = compute_features(bars, annual, {}, *settings)
    spent = milliseconds(lambda: compute_features(bars, annual, {}, *settings))
    columns = len(CANONICAL) + len(AUXILIARY)
    quality = {"columns": columns, "rows": rows.height, "hash": str(rows["definition_hash"][0])[:12]}
    workload = f"{SYMBOLS} symbols x {ROWS} bars, {columns} features"
    return Claim(
        "features", workload, "CPU ms per symbol", spent, goal=2.0, floor=4.8, quality=quality
    ).emit()


if __name__ == "__main__":
    sys.exit(main())
