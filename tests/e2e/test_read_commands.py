"""Every command that only reads answers people with lines and programs with one versioned JSON document."""

from __future__ import annotations

from typing import Any

import pytest
from front_door import LONG

READS = [
    ("list",), ("status",), ("status", "base"), ("show", "base"), ("logs", "base"),
    ("explain", "base", "BINANCE:BTCUSDT"), ("plan", "--profile", LONG), ("doctor",),
    ("profiles", "list"), ("profiles", "show", LONG), ("profiles", "validate", LONG),
    ("profiles", "diff", LONG, "defaults"), ("stage", "list"),
    ("sql", "SELECT run_id FROM runs ORDER BY run_id"), ("ledger", "verify", "base"),
    ("ledger", "verify", "--all"), ("audit", "atomic", "base"),
    ("lake", "snapshots"), ("lake", "history"), ("lake", "verify"),
    ("data", "scanners", "list"), ("data", "scanners", "show", LONG), ("data", "health"),
]  # fmt: skip


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_a_read_command_answers_people_and_programs(market: Any, words: tuple[str, ...]) -> None:
    before = market.possessions()
    plain, told = market(*words), market(*words, "--json")
    assert (plain.exit, told.exit) == (0, 0), plain.err + told.err
    assert plain.out.strip()
    assert not plain.out.lstrip().startswith("{")
    assert told.document["ok"] is True
    name, _, version = told.document["schema"].partition("/")
    assert name.startswith("quantctl.")
    assert version.isdigit()
    assert "data" in told.document
    market.kept(before, "")


def test_the_coverage_of_a_data_run_is_a_table_with_what_failed(market: Any) -> None:
    query = "SELECT run_id FROM runs WHERE pipeline = 'data.features'"
    runs = market("sql", query, "--json").document["data"]
    run_id = runs[0]["run_id"]
    plain, told = (market("data", "coverage", "show", run_id, *more) for more in ((), ("--json",)))
    assert plain.out.splitlines()[0].split() == [
        "stage",
        "source",
        "expected",
        "covered",
        "coverage",
        "status",
    ]
    (entry,) = told.document["data"]["coverage"].values()
    assert entry["stage"] == "feature_ingest"
    assert market("data", "coverage", "show", "base", "--json").is_refusal("RUN_NOT_FOUND", 3)
