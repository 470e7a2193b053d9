"""The foundation gate G1: a sound snapshot passes, and each defect is named under its own code."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from quantctl.contracts.settings.whole import Settings
from quantctl.contracts.stage import Judgement, Loaded, RunFacts
from quantctl.steps.l0_foundation.gate import FoundationParams, foundation_gate, judge_foundation
from quantctl.steps.l1_ingestion.feature_store import feature_parameters
from quantctl.workflows.verdicts import failure, verdict

BENCHMARK = "BINANCE:BTCUSDT"
GATE = judge_foundation.spec  # type: ignore[attr-defined]
RUN = RunFacts(
    run_id="r", profile="p", trace_id="0" * 32, pipeline="alpha.full", as_of="2025-06-30", snapshot="s1",
    manifest_sha256="0" * 64, annualisation=365, code_version="0",
)  # fmt: skip


def params(*, strict: bool = False) -> FoundationParams:
    whole = Settings()
    found = FoundationParams(**{name: getattr(whole, name) for name in FoundationParams.model_fields})
    return found.model_copy(update={
        "data": found.data.model_copy(update={"strict": strict}),
        "backtest": found.backtest.model_copy(update={"benchmark_symbols": (BENCHMARK,)}),
    })  # fmt: skip


def entry(stage: str, **changes: Any) -> dict[str, Any]:
    return {
        "dataops_run_id": "d1", "stage": stage, "path": f"{stage}.json", "sha256": "a" * 64, "coverage": 1.0,
        "status": "ok", "source": "local", "sha256_on_disk": "a" * 64, "schema_error": None,
        "exceptions_unexpired": False,
    } | changes  # fmt: skip


def health(**changes: Any) -> pl.DataFrame:
    return pl.DataFrame([{"symbol": BENCHMARK, "status": "OK", "eligible": True} | changes])


def judged(*, strict: bool = False, **changed: Any) -> Judgement:
    """The verdict on a sound snapshot of which some inputs are replaced."""
    settings = params(strict=strict)
    tables = ("bars_1d", "features_daily", "symbols", "candidates")
    inputs: dict[str, Any] = {
        "lake_snapshot": Loaded("lake_snapshot", "data/lake_snapshot.json", SimpleNamespace(id="s1")),
        "lake_manifest": {
            "tables": {name: {"rows": 9} for name in tables},
            "feature_parameters": feature_parameters(settings.features, settings.ratings),
        },
        "lake_coverage": [entry("price_ingest"), entry("feature_ingest")],
        "lake_candidates": pl.DataFrame({"symbol": [BENCHMARK]}),
        "lake_health": health(),
        "lake_metadata": pl.DataFrame({"symbol": [BENCHMARK], "provenance": ["venue"]}),
        "lake_features_latest": pl.DataFrame({"symbol": [BENCHMARK], "date": [date(2025, 6, 30)]}),
    }
    return judge_foundation(**(inputs | changed), params=settings, run=RUN)


def facts(judgement: Judgement) -> list[tuple[str, str, str | None]]:
    return [(finding.level, finding.code, finding.symbol) for finding in judgement.findings]


def stopped(judgement: Judgement) -> tuple[str, int, str | None]:
    """Code, exit and place of the error that the runner raises for the verdict."""
    body = verdict(GATE, judgement, RUN, {})
    error = failure(GATE, judgement, body, "data/gates/foundation.json")
    assert error is not None
    return error.code, error.exit_code, error.where


def test_a_sound_snapshot_passes_and_says_what_was_examined() -> None:
    found = judged(strict=True)
    assert found.findings == []
    assert found.checked == {"tables": 4, "coverage_entries": 2, "candidates": 1, "required_assets": 1}


def test_a_snapshot_record_that_breaks_its_contract_stops_the_run() -> None:
    broken: Loaded[Any] = Loaded("lake_snapshot", "p", None, None, "unreadable", "no field id")
    found = judged(lake_snapshot=broken)
    assert facts(found) == [("ERROR", "FOUNDATION_SCHEMA", None)]
    assert "no field id" in found.findings[0].message
    assert stopped(found) == ("FOUNDATION_SCHEMA", 3, "data/gates/foundation.json")


def test_another_snapshot_than_the_pinned_one_stops_the_run() -> None:
    found = judged(lake_snapshot=Loaded("lake_snapshot", "p", SimpleNamespace(id="s2")))
    assert facts(found) == [("ERROR", "FOUNDATION_UNPINNED", None)]
    assert found.findings[0].message == "s2 is not the pinned s1"
    assert stopped(found) == ("FOUNDATION_UNPINNED", 3, "data/gates/foundation.json")


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("code", "coverage", "named"),
    [
        ("COVERAGE_UNLINKED", [entry("price_ingest")], "no feature_ingest coverage"),
        (
            "COVERAGE_PARTIAL",
            [entry("price_ingest"), entry("feature_ingest", coverage=0.75)],
            "feature_ingest of d1: coverage 0.7500",
        ),
        (
            "COVERAGE_HASH",
            [entry("price_ingest", sha256_on_disk=None), entry("feature_ingest")],
            "price_ingest of d1: price_ingest.json is missing or changed",
        ),
        (
            "COVERAGE_SCHEMA",
            [entry("price_ingest", schema_error="no field status"), entry("feature_ingest")],
            "price_ingest of d1: no field status",
        ),
    ],
)
def test_lacking_coverage_stops_a_strict_run_and_warns_another(
    code: str, coverage: list[dict[str, Any]], named: str, *, strict: bool
) -> None:
    found = judged(strict=strict, lake_coverage=coverage)
    assert facts(found) == [("ERROR" if strict else "WARN", code, None)]
    assert named in found.findings[0].message
    if strict:
        assert stopped(found) == (code, 3, "data/gates/foundation.json")
    else:
        assert found.error is None


def test_an_unexpired_exception_excuses_partial_coverage() -> None:
    excused = entry("feature_ingest", coverage=0.75, exceptions_unexpired=True)
    assert judged(strict=True, lake_coverage=[entry("price_ingest"), excused]).findings == []


def test_a_required_asset_that_is_not_eligible_stops_the_run_and_is_named() -> None:
    found = judged(lake_health=health(status="STALE", eligible=False))
    assert facts(found) == [("ERROR", "HEALTH_ASSET_UNHEALTHY", BENCHMARK)]
    assert found.findings[0].message == f"{BENCHMARK} is STALE"
    assert stopped(found) == ("HEALTH_ASSET_UNHEALTHY", 3, BENCHMARK)


def test_a_required_asset_without_a_verdict_stops_the_run_and_is_named() -> None:
    found = judged(lake_health=health(symbol="BINANCE:ETHUSDT"))
    assert facts(found) == [("ERROR", "HEALTH_VERDICT_MISSING", BENCHMARK)]
    assert stopped(found) == ("HEALTH_VERDICT_MISSING", 3, BENCHMARK)


def test_only_coverage_of_required_stages_is_linked_with_its_hash() -> None:
    record = {"id": "s1", "tables": {"bars_1d": {"rows": 9}}}
    coverage = [entry("price_ingest"), entry("news_ingest")]
    outcome = foundation_gate(record, coverage, params=params(), run=RUN)
    assert [(found.level, found.code) for found in outcome.findings] == [("INFO", "COVERAGE_LINKED")]
    details = outcome.findings[0].details
    assert (details["stage"], details["dataops_run_id"], details["sha256"], details["event"]) == (
        "price_ingest", "d1", "a" * 64, True,
    )  # fmt: skip
    assert outcome.outputs == {"lake_snapshot": record}
