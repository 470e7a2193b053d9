"""Health of symbols judged at a date: freshness, gaps, venue status and toxicity.

Only bars up to the as-of date, and registry events known by then, decide: a later toxic print or delisting
excludes nobody from an earlier decision. File times are never used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from quantctl.contracts.grouping import grouped
from quantctl.contracts.settings.data import DataSettings, ToxicitySettings

ELIGIBLE = ("OK", "OK_MARKET_CLOSED")
PRECEDENCE = ("TOXIC", "MISSING", "DELISTED", "HALTED", "STALE", "DEGRADED_GAPS", "OK_MARKET_CLOSED", "OK")
_GONE = ("DELISTED", "CLOSE", "SETTLING", "DELIVERED", "DELIVERING", "PRE_DELIVERING")
_VOLUME_BARS = 21
_OF_BARS = {"RETURN_SPIKE": "jump", "PRICE_NONPOSITIVE": "nonpositive", "OHLC_INVALID": "bad"}
_FINDING = {
    "symbol": pl.String, "status": pl.String, "code": pl.String, "severity": pl.String, "value": pl.Float64,
    "threshold": pl.Float64, "session_date": pl.Date, "reason": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class Health:
    """verdicts : symbol, status, eligible, code, value, threshold, reason; one row per symbol, sorted
    findings : every reason: symbol, status, code, severity, value, threshold, session_date, reason
    """

    verdicts: pl.DataFrame
    findings: pl.DataFrame


def age_hours(closed: datetime, at: datetime) -> float:
    """Age of a bar whose session closed at `closed`, in hours, at the instant `at`."""
    return (at - closed).total_seconds() / 3600.0


def judge(
    bars: pl.DataFrame,
    sessions: pl.DataFrame,
    symbols: pl.DataFrame,
    *,
    as_of: date,
    at: datetime,
    settings: DataSettings,
    metadata: pl.DataFrame | None = None,
    events: pl.DataFrame | None = None,
) -> Health:
    """Judge every symbol of `symbols` at `as_of`.

    Parameters
    ----------
    bars : symbol, date, open, high, low, close, volume; rows after `as_of` are ignored
    sessions : code, date, open, close
    symbols : symbol, calendar
    at : the instant of the decision (UTC), from which ages are counted
    metadata : symbol, status, provenance valid at `as_of`; a backdated status is no evidence
    events : registry events known at `at`; bars up to the date of a clearance no longer count for its code
    """
    seen = bars.filter(pl.col("date") <= as_of)
    cleared = _cleared(events)
    facts = _facts(seen, settings.toxicity, cleared)
    table = symbols.select("symbol", "calendar").join(facts, on="symbol", how="left").sort("symbol")
    table = _with_sessions(table, seen, sessions.filter(pl.col("date") <= as_of), settings)
    findings = pl.concat([
        *_toxic(table, settings.toxicity),
        _finding(table, pl.col("last_date").is_null(), "MISSING", "DATA_MISSING", "hard"),
        *_venue(table, metadata),
        *_late(table, at, settings),
    ])  # fmt: skip
    findings = _uncleared(findings, cleared).sort("symbol", "code")
    return Health(_verdicts(table, findings, settings), findings)


def _facts(bars: pl.DataFrame, limits: ToxicitySettings, cleared: pl.DataFrame) -> pl.DataFrame:
    ordered = bars.sort("symbol", "date")
    change = (pl.col("close") / pl.col("close").shift(1).over("symbol") - 1.0).abs().alias("jump")
    bad = (pl.col("low") > pl.min_horizontal("open", "close")) | (
        pl.col("high") < pl.max_horizontal("open", "close")
    )
    nonpositive = (pl.col("close") <= 0).alias("nonpositive")
    marked = ordered.with_columns(change, nonpositive, bad.fill_null(False).alias("bad"))
    for code, column in _OF_BARS.items():
        until = cleared.filter(pl.col("code") == code).select("symbol", "until")
        marked = marked.join(until, on="symbol", how="left", maintain_order="left")
        answered = (pl.col("date") <= pl.col("until")).fill_null(False)
        marked = marked.with_columns(pl.when(~answered).then(pl.col(column)).alias(column)).drop("until")
    before = pl.col("volume").slice(0, pl.len() - 1).tail(_VOLUME_BARS)
    return grouped(marked, ["symbol"], ["date"]).agg(
        pl.col("date").last().alias("last_date"),
        pl.col("date").first().alias("first_date"),
        pl.col("jump").max(),
        pl.col("date").get(pl.col("jump").arg_max()).alias("jump_date"),
        pl.col("nonpositive").sum(),
        pl.col("bad").sum(),
        ((pl.col("close").tail(limits.stall_bars).n_unique() == 1) & (pl.len() >= limits.stall_bars)).alias(
            "stall"
        ),
        pl.col("volume").last().alias("volume"),
        before.mean().alias("volume_mean"),
        before.std(ddof=1).alias("volume_std"),
        before.count().alias("volume_count"),
    )


def _with_sessions(
    table: pl.DataFrame, bars: pl.DataFrame, sessions: pl.DataFrame, settings: DataSettings
) -> pl.DataFrame:
    """Add close of the last bar, expected session, and gaps within the window of each calendar."""
    days = sessions.sort("code", "date")
    window = grouped(days, ["code"], ["date"]).agg(
        pl.col("date").tail(settings.lookback_days).first().alias("window_start"),
        pl.col("date").last().alias("expected_date"),
    )
    numbered = days.with_columns(pl.int_range(pl.len()).over("code").alias("nth"))
    last = numbered.select("code", pl.col("date").alias("last_date"), "close", last_nth="nth")
    start = numbered.select("code", pl.col("date").alias("start"), start_nth="nth")
    wide = table.join(window, left_on="calendar", right_on="code", how="left", maintain_order="left")
    wide = wide.with_columns(pl.max_horizontal("window_start", "first_date").alias("start"))
    wide = wide.join(
        last,
        left_on=["calendar", "last_date"],
        right_on=["code", "last_date"],
        how="left",
        maintain_order="left",
    )
    wide = wide.join(
        start, left_on=["calendar", "start"], right_on=["code", "start"], how="left", maintain_order="left"
    )
    inside = bars.join(wide.select("symbol", "start"), on="symbol").filter(pl.col("date") >= pl.col("start"))
    held = grouped(inside, ["symbol"], ["date"]).agg(pl.len().alias("held"))
    wide = wide.join(held, on="symbol", how="left", maintain_order="left")
    gaps = (pl.col("last_nth") - pl.col("start_nth") + 1 - pl.col("held").cast(pl.Int64)).alias("gaps")
    return wide.with_columns(gaps, _tolerated(settings))


def _tolerated(settings: DataSettings) -> pl.Expr:
    table = {str(code): int(count) for code, count in settings.gaps.tolerated.items()}
    default = settings.gaps.tolerated_default
    return pl.col("calendar").replace_strict(table, default=default, return_dtype=pl.Int64).alias("tolerated")


def _finding(
    table: pl.DataFrame, where: pl.Expr, status: str, code: str, severity: str, *,
    value: pl.Expr | None = None, threshold: float | pl.Expr | None = None, day: str = "last_date",
    reason: str | pl.Expr = "",
) -> pl.DataFrame:  # fmt: skip
    return table.filter(where.fill_null(False)).select(
        "symbol",
        pl.lit(status).alias("status"),
        pl.lit(code).alias("code"),
        pl.lit(severity).alias("severity"),
        (pl.lit(None) if value is None else value).cast(pl.Float64).alias("value"),
        (threshold if isinstance(threshold, pl.Expr) else pl.lit(threshold))
        .cast(pl.Float64)
        .alias("threshold"),
        pl.col(day).alias("session_date"),
        (reason if isinstance(reason, pl.Expr) else pl.lit(reason)).cast(pl.String).alias("reason"),
    )


def _toxic(table: pl.DataFrame, limits: ToxicitySettings) -> list[pl.DataFrame]:
    jump, volume, mean = pl.col("jump"), pl.col("volume"), pl.col("volume_mean")
    z = (volume - mean) / pl.col("volume_std")
    enough = pl.col("volume_count") >= _VOLUME_BARS
    flat = pl.col("volume_std") == 0
    spike = enough & pl.when(flat).then(volume > 2 * mean).otherwise(z > limits.volume_z)
    return [
        _finding(table, jump > limits.max_abs_return, "TOXIC", "RETURN_SPIKE", "hard", value=jump,
                 threshold=limits.max_abs_return, day="jump_date"),
        _finding(table, (jump > limits.warn_abs_return) & (jump <= limits.max_abs_return), "OK",
            "RETURN_LARGE",
                 "warn", value=jump, threshold=limits.warn_abs_return, day="jump_date"),
        _finding(table, pl.col("nonpositive") > 0, "TOXIC", "PRICE_NONPOSITIVE", "hard",
            value=pl.col("nonpositive"),
                 threshold=0.0),
        _finding(table, pl.col("bad") > 0, "TOXIC", "OHLC_INVALID", "hard", value=pl.col("bad"),
            threshold=0.0),
        _finding(table, pl.col("stall"), "TOXIC", "PRICE_STALL", "soft", value=pl.lit(limits.stall_bars),
                 threshold=float(limits.stall_bars)),
        _finding(table, spike, "TOXIC", "VOLUME_SPIKE", "soft",
            value=pl.when(flat).then(volume / mean).otherwise(z),
                 threshold=limits.volume_z),
    ]  # fmt: skip


def _venue(table: pl.DataFrame, metadata: pl.DataFrame | None) -> list[pl.DataFrame]:
    if metadata is None or metadata.is_empty():
        return []
    known = metadata.filter((pl.col("provenance") != "backdated") & pl.col("status").is_not_null())
    joined = table.join(known.select("symbol", venue_status="status"), on="symbol", how="inner")
    gone = pl.col("venue_status").is_in(_GONE)
    halted = ~gone & (pl.col("venue_status") != "TRADING")
    reason = pl.col("venue_status")
    return [
        _finding(joined, gone, "DELISTED", "VENUE_DELISTED", "hard", reason=reason),
        _finding(joined, halted, "HALTED", "VENUE_HALTED", "hard", reason=reason),
    ]


def _late(table: pl.DataFrame, at: datetime, settings: DataSettings) -> list[pl.DataFrame]:
    age = (pl.lit(at) - pl.col("close")).dt.total_seconds() / 3600.0
    limit = settings.freshness.stale_hours
    return [
        _finding(table, age > limit, "STALE", "DATA_STALE", "hard", value=age, threshold=limit),
        _finding(table, pl.col("gaps") > pl.col("tolerated"), "DEGRADED_GAPS", "DATA_GAPS", "soft",
                 value=pl.col("gaps"), threshold=pl.col("tolerated")),
    ]  # fmt: skip


def _cleared(events: pl.DataFrame | None) -> pl.DataFrame:
    """symbol, code, until: the last bar that a person answered for."""
    if events is None:
        return pl.DataFrame(schema={"symbol": pl.String, "code": pl.String, "until": pl.Date})
    answered = events.filter(pl.col("status") == "CLEARED")
    return grouped(answered, ["symbol", "code"], ["session_date"]).agg(
        pl.col("session_date").last().alias("until")
    )


def _uncleared(findings: pl.DataFrame, cleared: pl.DataFrame) -> pl.DataFrame:
    joined = findings.join(cleared, on=["symbol", "code"], how="left", maintain_order="left")
    gone = (pl.col("session_date") <= pl.col("until")).fill_null(False)
    return joined.filter(~gone).drop("until")


def _verdicts(table: pl.DataFrame, findings: pl.DataFrame, settings: DataSettings) -> pl.DataFrame:
    place = pl.col("status").replace_strict({s: i for i, s in enumerate(PRECEDENCE)}, return_dtype=pl.Int64)
    serious = findings.filter(pl.col("severity") != "warn").with_columns(place.alias("place"))
    worst = grouped(serious, ["symbol"], ["place", "code"]).agg(
        pl.col("status", "code", "value", "threshold", "reason").first()
    )
    closed = (
        pl.when(pl.col("last_date") < pl.col("expected_date"))
        .then(pl.lit("OK_MARKET_CLOSED"))
        .otherwise(pl.lit("OK"))
    )
    joined = table.select("symbol", closed.alias("fine")).join(
        worst, on="symbol", how="left", maintain_order="left"
    )
    status = pl.coalesce("status", "fine")
    allowed = ELIGIBLE if settings.strict else (*ELIGIBLE, "DEGRADED_GAPS")
    return joined.select(
        "symbol", status.alias("status"), status.is_in(allowed).alias("eligible"), "code", "value",
        "threshold",
        pl.col("reason").fill_null(""),
    )  # fmt: skip
