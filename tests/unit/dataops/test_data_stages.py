from __future__ import annotations

from datetime import UTC, datetime

import pytest

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.settings import Settings
from quantctl.contracts.stage import RunFacts
from quantctl.lake.snapshot import Lake
from quantctl.scanner_files import as_json, definitions
from quantctl.workflows.dataops.candidates import find_candidates
from quantctl.workflows.dataops.features import backfill_features
from quantctl.workflows.dataops.publish import publish
from quantctl.workflows.dataops.requests import CandidatesRequest, ScopeRequest, SimulateRequest
from quantctl.workflows.dataops.simulating import simulate_market

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = SimulateRequest(symbols=30, days=420)
SCANNERS = as_json(definitions(("binance_spot_rating_all_long", "binance_spot_rating_all_short")))


def call(function, lake, request, run_id):
    facts = RunFacts(
        run_id=run_id, profile="development", trace_id="0" * 32, pipeline="data", as_of="", snapshot="",
        manifest_sha256="0" * 64, annualisation=365, code_version="0",
    )  # fmt: skip
    params = {name: getattr(Settings(), name) for name in function.spec.params.model_fields}
    return function(lake=lake, request=request, now=NOW, params=function.spec.params(**params), run=facts)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    made = Lake(tmp_path_factory.mktemp("lake"))
    call(simulate_market, made, SMALL, "sim")
    call(backfill_features, made, ScopeRequest(scope_run_id="sim"), "feat")
    return made


def test_a_replayed_simulation_commits_nothing_and_says_the_same(lake):
    before = len(lake.history())
    first, again = (call(simulate_market, lake, SMALL, "sim") for _ in range(2))
    assert first.outputs == again.outputs
    assert len(lake.history()) == before


def test_equal_simulations_have_equal_logical_hashes(tmp_path, lake):
    call(simulate_market, Lake(tmp_path), SMALL, "other")
    assert Lake(tmp_path).snapshot().logical_hash("bars_1d") == lake.snapshot().logical_hash("bars_1d")


def test_a_backfill_without_scope_is_refused(lake):
    for request in (ScopeRequest(), ScopeRequest(all_symbols=True)):
        with pytest.raises(ConfigError) as caught:
            call(backfill_features, lake, request, "none")
        assert caught.value.code == "FEATURE_SCOPE_REQUIRED"


def test_candidates_are_found_published_and_kept(lake):
    request = CandidatesRequest(scanners=SCANNERS)
    found = call(find_candidates, lake, request, "scan")
    assert found.error is None
    published = call(publish, lake, request, "scan")
    rows = lake.snapshot().candidates(lake.snapshot().as_of, list(SCANNERS))
    assert rows.height == published.metrics["candidates"]
    assert set(rows["direction"]) == {"LONG", "SHORT"}
    again = call(find_candidates, lake, request, "scan2")
    assert [f.code for f in again.findings] == ["CANDIDATES_KEPT"] * 2


def test_a_scanner_ranked_by_another_timeframe_says_that_it_was_ranked_by_daily_bars(lake):
    own = as_json(definitions(("binance_spot_rating_ma_long",)))
    found = call(find_candidates, lake, CandidatesRequest(scanners=own, refresh=True), "daily")
    assert [(f.level, f.code) for f in found.findings] == [("INFO", "SCAN_FIELD_DAILY")]
    assert found.findings[0].message.startswith("binance_spot_rating_ma_long is ranked by daily bars, not ")


@pytest.mark.parametrize("optional", [False, True])
def test_a_scanner_that_finds_nothing_commits_nothing_unless_it_may_be_empty(lake, optional):
    name = "binance_spot_rating_all_short"
    impossible = {"field": "Recommend.All", "op": "less", "value": -0.999}
    own = as_json(definitions((name,)))
    own[name] |= {"filters": {"none": impossible}, "optional": optional}
    before = len(lake.history())
    found = call(find_candidates, lake, CandidatesRequest(scanners=own, refresh=True), f"none{optional}")
    if optional:
        assert found.error is None
        assert found.metrics["rows"] == {name: 0}
    else:
        assert (found.error.code, found.error.exit_code) == ("SCANNER_EMPTY", 3)
        assert found.error.where == name
        assert "'filter.none': 0" in found.error.message
        assert "quantctl data features" in found.error.remedy
        assert found.outputs["candidates_export"]["candidates"] == []
        assert len(lake.history()) == before


def test_a_scope_of_which_no_symbol_has_bars_gains_no_features(lake):
    before = len(lake.history())
    found = call(backfill_features, lake, ScopeRequest(symbols=("BINANCE:NOPEUSDT",)), "nobody")
    assert (found.error.code, found.error.exit_code) == ("FEATURE_FETCH_ZERO", 3)
    assert found.error.where == "BINANCE:NOPEUSDT"
    assert "quantctl data import" in found.error.remedy
    told = [(f.level, f.code, f.symbol) for f in found.findings]
    assert told == [
        ("INFO", "COVERAGE_RECORDED", None), ("WARN", "FEATURE_NO_BARS", "BINANCE:NOPEUSDT"),
    ]  # fmt: skip
    assert found.outputs["feature_ingest_coverage"].status == "FAIL"
    assert len(lake.history()) == before


def test_a_symbol_without_bars_lowers_the_coverage_of_a_backfill(lake):
    known = lake.snapshot().table("bars_1d")["symbol"][0]
    found = call(backfill_features, lake, ScopeRequest(symbols=(known, "BINANCE:NOPEUSDT")), "half")
    assert ("FEATURE_NO_BARS", "BINANCE:NOPEUSDT") in [(f.code, f.symbol) for f in found.findings]
    coverage = found.outputs["feature_ingest_coverage"]
    assert (coverage.coverage, coverage.failed_symbols) == (0.5, ["BINANCE:NOPEUSDT"])
