"""The rules by which offered bars become bars of the lakehouse, or go to quarantine.

Pure: frames in, frames and counts out. Nothing is filled, moved or invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from quantctl.contracts.errors import DataUnhealthy
from quantctl.contracts.grouping import grouped

PRICES = ("open", "high", "low", "close")
NUMBERS = (*PRICES, "volume", "quote_volume")
VALUES = (*NUMBERS, "trades")
KEY = ("symbol", "date")


@dataclass(frozen=True)
class CheckedBars:
    """accepted : `KEY`, `VALUES`, known_at (close of the session), by symbol and date
    quarantined : `KEY`, `VALUES`, code, by symbol, date and code; undefined numbers are null
    counts : rows per code, dropped ones included
    by_symbol : symbol, code, rows, by symbol and code
    """

    accepted: pl.DataFrame
    quarantined: pl.DataFrame
    counts: dict[str, int]
    by_symbol: pl.DataFrame


def session_dates(frame: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    """`frame` with `date`, the session label of each stamp.

    Parameters
    ----------
    frame : calendar, stamp (Datetime UTC) and any other columns
    sessions : code, date, open, close

    A midnight stamp is the label as it is; an intraday stamp belongs to the session whose [open, close)
    holds it. Between sessions the label is null.
    """
    label = pl.col("stamp").dt.date()
    midnight = pl.col("stamp").dt.time() == pl.time(0)
    if frame.select(midnight.all()).item():
        return frame.with_columns(label.alias("date"))
    spans = {
        "held": "date",
        "held_from": "open",
        "held_to": "close",
    }  # `open` and `close` are prices of a bar
    opens = sessions.select("code", **{name: pl.col(own) for name, own in spans.items()}).sort("held_from")
    found = frame.with_row_index("row").sort("stamp").join_asof(
        opens, left_on="stamp", right_on="held_from", by_left="calendar", by_right="code",
        strategy="backward", check_sortedness=False,
    )  # fmt: skip
    held = pl.when(pl.col("stamp") < pl.col("held_to")).then(pl.col("held"))
    dated = found.sort("row").with_columns(pl.when(midnight).then(label).otherwise(held).alias("date"))
    return dated.drop("row", *spans)


def check_bars(
    offered: pl.DataFrame, sessions: pl.DataFrame, *, as_of: date, close_only: bool, strict: bool
) -> CheckedBars:
    """Sort offered bars into accepted and quarantined ones.

    Parameters
    ----------
    offered : symbol, calendar, date (null: outside any session) and `VALUES`
    sessions : code, date, open, close of every calendar in `offered`
    as_of : sessions after this date had not closed; their bars are dropped (`BAR_UNFINISHED`)
    close_only : the source has closes only; open, high and low are null in every accepted bar
    strict : a repeated key with different values stops the import

    Raises `IMPORT_DUPLICATE_CONFLICT` (exit 3) under `strict`.
    """
    frame = _finite(offered.sort(*KEY, maintain_order=True))
    late = pl.col("date") > as_of
    counts = {"BAR_UNFINISHED": int(frame.select(late.fill_null(False).sum()).item())}
    by_symbol = [_tally(frame.filter(late), "BAR_UNFINISHED")]
    frame = frame.filter(late.fill_null(False).not_())
    frame, repeated = _collapsed(frame)
    counts["BAR_DUPLICATE"] = repeated.height
    by_symbol.append(_tally(repeated, "BAR_DUPLICATE"))
    judged = _judged(frame, sessions, close_only)
    bad = judged.filter(pl.col("code").is_not_null())
    _refuse_conflicts(bad, strict)
    counts |= dict(bad["code"].value_counts(sort=True).iter_rows())
    by_symbol.append(bad.select("symbol", "code"))
    return CheckedBars(
        accepted=_accepted(judged.filter(pl.col("code").is_null()), close_only),
        quarantined=bad.select(*KEY, *VALUES, "code").sort(*KEY, "code", *VALUES),
        counts={code: counts[code] for code in sorted(counts) if counts[code]},
        by_symbol=_tallied(by_symbol),
    )


def _finite(frame: pl.DataFrame) -> pl.DataFrame:
    """Mark rows with a NaN or infinite number, and make those numbers null: the lake holds none."""
    undefined = pl.any_horizontal([pl.col(c).is_finite().not_().fill_null(False) for c in NUMBERS])
    marked = frame.with_columns(undefined.alias("undefined"))
    return marked.with_columns(pl.when(pl.col(c).is_finite()).then(pl.col(c)).alias(c) for c in NUMBERS)


def _collapsed(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Without the identical repetitions of a key, and those repetitions."""
    again = pl.all_horizontal([pl.col(c).eq_missing(pl.col(c).shift(1)) for c in KEY])
    marked = frame.with_columns((again | again.shift(-1)).fill_null(False).alias("shared"))
    alone, shared = marked.filter(~pl.col("shared")), marked.filter(pl.col("shared"))
    if shared.is_empty():
        return marked, shared
    distinct = shared.unique(maintain_order=True)
    repeated = shared.height - distinct.height
    extra = shared.with_columns(nth=pl.int_range(pl.len()).over([*KEY, *VALUES])).filter(pl.col("nth") > 0)
    conflict = distinct.with_columns((pl.len().over(KEY) > 1).alias("shared"))
    return pl.concat([alone, conflict]).sort(*KEY, maintain_order=True), extra.head(repeated)


def _judged(frame: pl.DataFrame, sessions: pl.DataFrame, close_only: bool) -> pl.DataFrame:
    closes = sessions.select(pl.col("code").alias("calendar"), "date", pl.col("close").alias("known_at"))
    joined = frame.join(closes, on=["calendar", "date"], how="left", maintain_order="left")
    code = (
        pl.when(pl.col("date").is_null()).then(pl.lit("BAR_OUTSIDE_SESSION"))
        .when(pl.col("shared")).then(pl.lit("IMPORT_DUPLICATE_CONFLICT"))
        .when(_invalid(close_only)).then(pl.lit("BAR_INVALID"))
        .when(pl.col("known_at").is_null()).then(pl.lit("BAR_NOT_ON_SESSION"))
    )  # fmt: skip
    return joined.with_columns(code.alias("code"))


def _invalid(close_only: bool) -> pl.Expr:
    priced = ("close",) if close_only else PRICES
    bad = [pl.col("undefined")]
    bad += [(pl.col(name) <= 0).fill_null(True) for name in priced]
    bad += [(pl.col(name) < 0).fill_null(False) for name in ("volume", "quote_volume", "trades")]
    if not close_only:
        bad.append(pl.col("low") > pl.min_horizontal("open", "close"))
        bad.append(pl.col("high") < pl.max_horizontal("open", "close"))
    return pl.any_horizontal(bad)


def _refuse_conflicts(bad: pl.DataFrame, strict: bool) -> None:
    conflicts = bad.filter(pl.col("code") == "IMPORT_DUPLICATE_CONFLICT")
    if strict and conflicts.height:
        symbol, day = conflicts.select("symbol", "date").row(0)
        raise DataUnhealthy(
            "IMPORT_DUPLICATE_CONFLICT",
            f"{conflicts.height} rows share symbol and date with other values, the first on {day}",
            where=symbol,
            remedy="mend the file, or import without --strict: all versions then go to quarantine",
        )


def _accepted(frame: pl.DataFrame, close_only: bool) -> pl.DataFrame:
    if close_only:
        frame = frame.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("open", "high", "low"))
    return frame.select(*KEY, *VALUES, "known_at")


def _tally(frame: pl.DataFrame, code: str) -> pl.DataFrame:
    return frame.select("symbol", pl.lit(code).alias("code"))


def _tallied(rows: list[pl.DataFrame]) -> pl.DataFrame:
    return grouped(pl.concat(rows), ["symbol", "code"]).agg(pl.len().cast(pl.Int64).alias("rows"))


def revisions(stored: pl.DataFrame, accepted: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Compare accepted bars with the visible stored ones of the same keys.

    Returns (new bars, revised bars with `old_close`, number of unchanged bars). A revision differs in any
    of `VALUES`.
    """
    if stored.is_empty():
        return accepted, accepted.clear().with_columns(old_close=pl.lit(None, pl.Float64)), 0
    old = stored.select(*KEY, *(pl.col(c).alias(f"old_{c}") for c in VALUES), known=pl.lit(True))
    joined = accepted.join(old, on=list(KEY), how="left", maintain_order="left")
    known = pl.col("known").is_not_null()
    same = pl.all_horizontal([pl.col(c).eq_missing(pl.col(f"old_{c}")) for c in VALUES])
    revised = joined.filter(known & ~same).select(*accepted.columns, "old_close")
    unchanged = int(joined.select((known & same).sum()).item())
    return joined.filter(~known).select(accepted.columns), revised, unchanged
