"""Every query of docs/ledger-and-sql.md answers on a finished demo, live and from the catalogue alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

from quantctl.lake.catalog import VIEWS
from quantctl.lake.tables import TABLES
from quantctl.sdk import QuantSDK

DOC = Path(__file__).parents[2] / "docs" / "ledger-and-sql.md"
QUERIES = re.findall(r"```sql\n(.*?)```", DOC.read_text(), re.S)
# These find something only where something went wrong or differently.
MAY_BE_EMPTY = ("FROM lives", "status <> 'PASS'", "WHERE code IN")

pytestmark = pytest.mark.slow


def test_there_are_at_least_ten_queries() -> None:
    assert len(QUERIES) >= 10


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_a_query_answers_alike_from_both_surfaces(
    query: str, demo: tuple[Path, dict], demo_sdk: QuantSDK
) -> None:
    columns, rows = demo_sdk.query_rows(query)
    assert columns
    if not any(part in query for part in MAY_BE_EMPTY):
        assert rows
    with duckdb.connect(str(demo[0] / "catalog.duckdb"), read_only=True) as stock:
        assert sorted(map(str, stock.execute(query).fetchall())) == sorted(map(str, rows))


def test_the_tables_that_a_reader_sees_are_the_documented_views(market: Any) -> None:
    seen = {row["name"] for row in market("sql", "SHOW TABLES", "--json").document["data"]}
    assert set(VIEWS) <= seen <= set(VIEWS) | set(TABLES)
    with duckdb.connect() as stock:
        stock.execute(f"ATTACH '{market.data / 'catalog.duckdb'}' AS quant (READ_ONLY)")
        assert stock.execute("SELECT count(*) FROM quant.stages").fetchone()[0] > 0
        stock.execute("USE quant")
        tables = {row[0] for row in stock.execute("SHOW TABLES").fetchall()}
    assert tables == seen
