"""What a feature backfill does with the verdict of the validator."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from quantctl.contracts.settings import Settings
from quantctl.contracts.stage import Outcome, RunFacts
from quantctl.lake.snapshot import Lake
from quantctl.steps.l1_ingestion.feature_validator import Validation
from quantctl.workflows.dataops import features
from quantctl.workflows.dataops.requests import ScopeRequest, SimulateRequest
from quantctl.workflows.dataops.simulating import simulate_market

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _call(function: Any, lake: Lake, request: Any, run_id: str, *, strict: bool = False) -> Outcome:
    facts = RunFacts(
        run_id=run_id, profile="development", trace_id="0" * 32, pipeline="data", as_of="", snapshot="",
        manifest_sha256="0" * 64, annualisation=365, code_version="0",
    )  # fmt: skip
    settings = {name: getattr(Settings(), name) for name in function.spec.params.model_fields}
    settings["data"] = settings["data"].model_copy(update={"strict": strict})
    return function(lake=lake, request=request, now=NOW, params=function.spec.params(**settings), run=facts)


def _backfill(lake: Lake, run_id: str, *, strict: bool = False) -> Outcome:
    return _call(features.backfill_features, lake, ScopeRequest(scope_run_id="sim"), run_id, strict=strict)


@pytest.fixture
def lake(tmp_path: Any) -> Lake:
    made = Lake(tmp_path)
    _call(simulate_market, made, SimulateRequest(symbols=12, days=260), "sim")
    return made


def _verdict(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    found = Validation({code: {"X:A": ["uo"]}})
    monkeypatch.setattr(features, "validate_features", lambda *_: found)


def test_sound_rows_pass_a_strict_backfill_and_the_report_says_what_was_looked_at(lake: Lake) -> None:
    found = _backfill(lake, "f", strict=True)
    assert found.error is None
    report = found.outputs["feature_report"]
    assert report["counts"] == {} and report["checked"]["probes"] == 3 and report["checked"]["symbols"] == 12


def test_a_sparse_feature_is_a_warning_unless_data_are_strict(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    _verdict(monkeypatch, "FEATURE_NAN_DENSITY")
    assert _backfill(lake, "a").error is None
    strict = _backfill(lake, "b", strict=True)
    assert strict.error is not None
    assert (strict.error.code, strict.error.exit_code) == ("FEATURE_VALIDATION", 1)
    assert strict.outputs["feature_report"]["counts"] == {"FEATURE_NAN_DENSITY": 1}


@pytest.mark.parametrize("code", ["FEATURE_COLUMN_MISSING", "FEATURE_PIT_VIOLATION"])
def test_rows_of_the_wrong_form_or_with_foresight_are_never_stored(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    _verdict(monkeypatch, code)
    found = _backfill(lake, "f")
    assert found.error is not None and found.error.code == "FEATURE_VALIDATION"
    assert "features_daily" not in lake.snapshot(committed=True).manifest.tables


def test_a_restarted_average_stops_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    _verdict(monkeypatch, "FEATURE_GAP_RESTART")
    found = _backfill(lake, "f", strict=True)
    assert found.error is None
    told = [(f.level, f.code) for f in found.findings]
    assert told == [("INFO", "COVERAGE_RECORDED"), ("INFO", "FEATURE_GAP_RESTART")]
