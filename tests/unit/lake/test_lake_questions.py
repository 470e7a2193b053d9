"""What a snapshot is asked for and does not hold, or may not answer, is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quantctl.contracts.errors import ConfigError, DataMissing
from quantctl.lake.pinned import Snapshot
from quantctl.lake.snapshot import Lake

AT = datetime(2026, 1, 1, tzinfo=UTC)
DAY = date(2024, 1, 2)
KNOWN, UNKNOWN = "BINANCE:AAAUSDT", "BINANCE:NOPEUSDT"
BARS = pl.DataFrame({
    "symbol": KNOWN, "date": [DAY, DAY + timedelta(days=1)], "open": 1.0, "high": 2.0, "low": 0.5,
    "close": 1.5, "volume": 3.0, "source": "test", "provenance": "observed", "known_at": AT, "run_id": "r",
}).with_columns(pl.col("known_at").dt.cast_time_unit("us"))  # fmt: skip


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return Lake(tmp_path).commit({"bars_1d": BARS}, txn="1", at=AT, published=True)


@pytest.mark.parametrize(
    ("ask", "where"),
    [
        (lambda s: s.returns_matrix([KNOWN, UNKNOWN]), UNKNOWN),
        (lambda s: s.panel().returns([UNKNOWN, KNOWN]), UNKNOWN),
        (lambda s: s.features(DAY), "features_daily"),
        (lambda s: s.features_latest(DAY), "features_daily"),
    ],
)
def test_what_a_snapshot_does_not_hold_is_missing(
    snapshot: Snapshot, ask: Callable[[Snapshot], Any], where: str
) -> None:
    with pytest.raises(DataMissing) as caught:
        ask(snapshot)
    assert (caught.value.code, caught.value.exit_code) == ("FOUNDATION_MISSING", 3)
    assert caught.value.where == where
    assert caught.value.remedy.startswith("quantctl data import")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELEKT 1", "SELEKT"),
        ("SELECT nothing FROM bars_1d", "nothing"),
        ("SELECT * FROM features_daily", "features_daily"),
        ("DELETE FROM bars_1d", "only one SELECT"),
        ("SELECT 1; SELECT 2", "only one SELECT"),
        ("COPY bars_1d TO 'out.csv'", "only one SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "/etc/passwd"),
    ],
)
def test_a_query_that_a_snapshot_cannot_answer_changes_nothing(
    snapshot: Snapshot, tmp_path: Path, query: str, told: str
) -> None:
    assert snapshot.sql("SELECT count(*) AS n FROM bars_1d").item() == 2
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=told) as caught:
        snapshot.sql(query)
    assert (caught.value.code, caught.value.exit_code, caught.value.where) == ("LAKE_SQL", 2, "query")
    assert "one SELECT over the tables" in caught.value.remedy
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
