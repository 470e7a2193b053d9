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
