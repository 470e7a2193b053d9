from __future__ import annotations

import tempfile
from datetime import UTC, date, datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from quantctl.lake.snapshot import Lake

AT = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = date(2024, 1, 1)

# one version of a bar: symbol, day, hours after its close at which it became known
versions = st.tuples(st.integers(0, 2), st.integers(0, 5), st.sampled_from([0, 0, 0, 7, 48]))
commits = st.lists(st.lists(versions, min_size=1, max_size=8, unique=True), min_size=1, max_size=5)


def close_of(day: int) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day + 1)


@settings(max_examples=60, deadline=None)
@given(commits, st.integers(0, 200))
def test_a_read_sees_what_a_naive_reading_of_the_rule_sees(
    history: list[list[tuple[int, int, int]]], hours: int
) -> None:
    at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    expected: dict[tuple[str, date], float] = {}
    with tempfile.TemporaryDirectory() as root:
        lake = Lake(root)
        number = 0.0
        for i, rows in enumerate(history):
            records = []
            for symbol, day, late in sorted(rows):
                number += 1
                known, key = (
                    close_of(day) + timedelta(hours=late),
                    (f"X:S{symbol}", FIRST + timedelta(days=day)),
                )
                records.append((*key, number, known))
                if close_of(day) <= at and known <= at:
                    expected[key] = number
            lake.commit({"bars_1d": frame(records)}, txn=str(i), at=AT, published=True)
        snap = lake.snapshot()
        read = snap.bars(known_at=at)
        assert (
            dict(zip(zip(read["symbol"], read["date"], strict=True), read["close"], strict=True)) == expected
        )
        wanted = read.filter(pl.col("symbol") == "X:S1", pl.col("date") >= date(2024, 1, 3))
        assert snap.bars(["X:S1"], date(2024, 1, 3), known_at=at).equals(wanted)
        assert snap.sql("SELECT * FROM bars_1d ORDER BY symbol, date").equals(snap.bars())


def frame(records: list[tuple[str, date, float, datetime]]) -> pl.DataFrame:
    schema = {
        "symbol": pl.String, "date": pl.Date, "close": pl.Float64, "known_at": pl.Datetime("us", "UTC"),
    }  # fmt: skip
    rows = pl.DataFrame(records, schema=schema, orient="row")
    same = [pl.col("close").alias(c) for c in ("open", "high", "low", "volume")]
    return rows.with_columns(*same, source=pl.lit("t"), provenance=pl.lit("observed"))
