"""Every feature of every symbol is examined before it is believed. Source: features page, section 6."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.stage import Finding, Level
from quantctl.steps.l1_ingestion.feature_store import AUXILIARY, CANONICAL, COUNTS, DOMAINS, FIRST_BARS

FEATURES = CANONICAL + AUXILIARY
RESTARTING = tuple(name for name in FEATURES if name.startswith(("ema_", "macd", "rsi", "adx", "dm", "bb_p")))
MAX_NULLS = 0.10  # share of undefined values after the first defined one
MAX_LAG = 3  # sessions by which the last defined value may trail the last bar
PROBES = 3
SHOWN = 50
SEED = 20260122
HARD = ("FEATURE_COLUMN_MISSING", "FEATURE_PIT_VIOLATION")
"""Codes that fail whatever `data.strict` says."""
Recompute = Callable[[pl.DataFrame], pl.DataFrame]
Flags = NDArray[np.bool_]
Problems = dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class Validation:
    """problems : code -> symbol -> the features it is about; checked : what was looked at, as counts."""

    problems: Problems
    checked: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Number of (code, symbol) pairs that fail a strict run."""
        return sum(len(found) for code, found in self.problems.items() if code != "FEATURE_GAP_RESTART")

    @property
    def fatal(self) -> bool:
        """Whether the schema or the point-in-time probe failed."""
        return any(self.problems.get(code) for code in HARD)

    def findings(self) -> list[Finding]:
        """One finding per code and symbol, the first 50 of each code."""
        return [
            Finding(
                level=_level(code), code=code, symbol=symbol or None, message=_sentence(code, names),
                details={"features": names[:10], "count": len(names)},
            )
            for code, found in sorted(self.problems.items())
            for symbol, names in sorted(found.items())[:SHOWN]
        ]  # fmt: skip

    def record(self) -> dict[str, Any]:
        """The JSON of the report: counts by code, and per symbol the features concerned."""
        counts = {code: len(found) for code, found in sorted(self.problems.items())}
        return {"checked": self.checked, "counts": counts, "problems": self.problems}


def _level(code: str) -> Level:
    return "ERROR" if code in HARD else "INFO" if code == "FEATURE_GAP_RESTART" else "WARN"


def _sentence(code: str, names: Sequence[str]) -> str:
    what = {
        "FEATURE_COVERAGE_GAP": "no feature rows",
        "FEATURE_NAN_DENSITY": "undefined too often after the first defined value, or never defined",
        "FEATURE_LAG": f"last defined value trails the last bar by more than {MAX_LAG} sessions",
        "FEATURE_BOUNDS": "outside its domain",
        "FEATURE_COLUMN_MISSING": "column absent or of another type",
        "FEATURE_PIT_VIOLATION": "recomputation from bars up to the date gives another row",
        "FEATURE_GAP_RESTART": "a recursion began anew after a missing value",
    }[code]
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{what}: {listed}" if listed else what


def validate_features(
    bars: pl.DataFrame, rows: pl.DataFrame, expected: Iterable[str], recompute: Recompute
) -> Validation:
    """Check feature rows against the bars they were computed from.

    Parameters
    ----------
    bars : the bars they come from, sorted by symbol and date
    rows : the computed rows, sorted by symbol and date
    expected : symbols that must have rows
    recompute : bars of one symbol -> its rows; asked for three seeded (symbol, date) pairs
    """
    problems: Problems = {}
    wrong = [
        name
        for name in FEATURES + COUNTS
        if rows.schema.get(name) != (pl.Int32 if name in COUNTS else pl.Float64)
    ]
    if wrong:
        return Validation({"FEATURE_COLUMN_MISSING": {"": wrong}}, {"rows": rows.height})
    symbols = rows["symbol"].unique(maintain_order=True).to_list()
    absent = sorted(set(expected) - set(symbols))
    problems["FEATURE_COVERAGE_GAP"] = {symbol: [] for symbol in absent}
    starts = np.flatnonzero((rows["symbol"] != rows["symbol"].shift()).fill_null(True).to_numpy())
    for name in FEATURES:
        for code, at in _column(rows, name, starts).items():
            for i in np.flatnonzero(at):
                problems.setdefault(code, {}).setdefault(symbols[i], []).append(name)
    for symbol, names in _beyond_channel(bars, rows).items():
        problems.setdefault("FEATURE_BOUNDS", {}).setdefault(symbol, []).extend(names)
    for symbol, day in _trailing(bars, rows):
        problems.setdefault("FEATURE_LAG", {}).setdefault(symbol, []).append(f"rows end at {day}")
    pairs, differing = _probe(bars, rows, recompute)
    problems["FEATURE_PIT_VIOLATION"] = differing
    checked = {"rows": rows.height, "symbols": len(symbols), "features": len(FEATURES), "probes": pairs}
    return Validation({code: found for code, found in problems.items() if found}, checked)


def _column(rows: pl.DataFrame, name: str, starts: NDArray[np.intp]) -> dict[str, Flags]:
    """Code -> whether each symbol fails it with this column, (S,)."""
    known = rows[name].is_not_null().to_numpy()
    place = np.arange(rows.height)
    ends = np.append(starts[1:], rows.height)
    first = np.minimum.reduceat(np.where(known, place, rows.height), starts)
    last = np.maximum.reduceat(np.where(known, place, -1), starts)
    count = np.add.reduceat(known.astype(np.int64), starts)
    some, inside = count > 0, last - first + 1
    sparse = 1 - count / np.maximum(ends - first, 1) > MAX_NULLS
    found = {
        "FEATURE_NAN_DENSITY": np.where(some, sparse, ends - starts > FIRST_BARS[name]),
        "FEATURE_LAG": some & (ends - 1 - last > MAX_LAG),
    }
    if name in RESTARTING:
        found["FEATURE_GAP_RESTART"] = some & (count < inside)
    outside = _outside(rows, name)
    if outside is not None:
        found["FEATURE_BOUNDS"] = np.logical_or.reduceat(outside, starts)
    return found


def _outside(rows: pl.DataFrame, name: str) -> Flags | None:
    """Rows at which the feature is outside its domain; None when it has none."""
    if name not in DOMAINS:
        return None
    low, high = DOMAINS[name]
    values = rows[name].to_numpy()
    return np.asarray((values < low) | (values > high))


def _trailing(bars: pl.DataFrame, rows: pl.DataFrame) -> list[tuple[str, Any]]:
    """Symbols whose rows end more than `MAX_LAG` bars before their last bar."""
    last = rows.select("symbol", last="date").unique("symbol", keep="last", maintain_order=True)
    later = bars.select("symbol", "date").join(last, on="symbol", maintain_order="left")
    counts = later.filter(pl.col("date") > pl.col("last"))["symbol"].value_counts()
    late = counts.filter(pl.col("count") > MAX_LAG).join(last, on="symbol", maintain_order="left")
    return list(late.sort("symbol").select("symbol", "last").iter_rows())


def _probe(bars: pl.DataFrame, rows: pl.DataFrame, recompute: Recompute) -> tuple[int, dict[str, list[str]]]:
    """Recompute three seeded rows from the bars up to their date; every cell must be the same to the bit.

    Returns the number of pairs and symbol -> the columns that differ.
    """
    generator = np.random.Generator(np.random.PCG64(SEED))
    picked = generator.choice(rows.height, size=min(PROBES, rows.height), replace=False)
    differing = {}
    for i in sorted(picked.tolist()):
        row = rows[i]
        symbol, day = row["symbol"][0], row["date"][0]
        again = recompute(bars.filter((pl.col("symbol") == symbol) & (pl.col("date") <= day))).tail(1)
        names = [name for name in row.columns if not again[name].equals(row[name])]
        if names:
            differing[symbol] = [f"{day}", *names]
    return len(picked), differing


def _beyond_channel(bars: pl.DataFrame, rows: pl.DataFrame) -> dict[str, list[str]]:
    """Symbol -> donchian columns on the wrong side of a close of their own window."""
    joined = rows.select("symbol", "date", "donchian_lower_20", "donchian_upper_20").join(
        bars.select("symbol", "date", "close"), on=["symbol", "date"], maintain_order="left"
    )
    wrong = {
        "donchian_lower_20": pl.col("donchian_lower_20") > pl.col("close"),
        "donchian_upper_20": pl.col("donchian_upper_20") < pl.col("close"),
    }
    found: dict[str, list[str]] = {}
    for name, outside in wrong.items():
        for symbol in joined.filter(outside)["symbol"].unique(maintain_order=True):
            found.setdefault(symbol, []).append(name)
    return found
