"""Why a symbol is not in a portfolio: one view, complete over the scan, agreeing with `explain`."""

from __future__ import annotations

from typing import Any

import pytest

from quantctl.sdk import QuantSDK

pytestmark = pytest.mark.slow

UNEXPLAINED = """
SELECT s.run_id, a.risk_profile, s.symbol
FROM (SELECT DISTINCT run_id, symbol FROM scanned) s
JOIN allocations a ON a.run_id = s.run_id AND a.space = 'physical'
WHERE NOT EXISTS (FROM holdings h WHERE h.run_id = s.run_id AND h.symbol = s.symbol
                  AND h.risk_profile = a.risk_profile)
  AND NOT EXISTS (FROM why_not w WHERE w.run_id = s.run_id AND w.symbol = s.symbol
                  AND (w.risk_profile IS NULL OR w.risk_profile = a.risk_profile))
"""


def test_every_symbol_of_the_scan_is_held_or_has_a_reason(demo_sdk: QuantSDK) -> None:
    assert demo_sdk.query_rows("SELECT count(DISTINCT symbol) FROM scanned")[1][0][0] >= 100
    assert demo_sdk.query_rows("SELECT count(*) FROM holdings")[1][0][0] > 0
    assert demo_sdk.query_rows(UNEXPLAINED)[1] == []


def test_no_held_symbol_has_a_reason(demo_sdk: QuantSDK) -> None:
    _, rows = demo_sdk.query_rows(
        "SELECT * FROM why_not w JOIN holdings h ON h.run_id = w.run_id AND h.symbol = w.symbol"
        " AND (h.risk_profile = w.risk_profile OR w.risk_profile IS NULL)"
    )
    assert rows == []


def test_the_view_names_the_codes_that_explain_names(demo_sdk: QuantSDK, demo_runs: dict[str, str]) -> None:
    for run_id in demo_runs.values():
        _, rows = demo_sdk.query_rows(
            f"SELECT symbol, list(DISTINCT code) FROM why_not WHERE run_id = '{run_id}'"
            " AND stage IN ('scan', 'selection', 'foundation', 'identity') GROUP BY symbol ORDER BY symbol"
        )
        assert rows
        for symbol, codes in rows[::9]:
            told = {step["code"] for step in demo_sdk.explain(run_id, symbol)}
            assert set(codes) <= told, symbol


@pytest.mark.parametrize("view", ["durations", "attempts", "workers", "winners", "allocations", "events"])
def test_a_view_has_rows_on_a_finished_demo(demo_sdk: QuantSDK, view: str, demo: Any) -> None:
    assert demo_sdk.query_rows(f"SELECT * FROM {view}")[1] or view == "events"
