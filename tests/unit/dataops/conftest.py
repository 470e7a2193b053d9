"""DataOps stages called as the runner calls them, on lakehouses of the test."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quantctl.contracts.settings import Settings
from quantctl.contracts.stage import RunFacts

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def call():
    """`call(stage, lake, request, run_id, now=..., section={key: value})` -> outcome."""

    def called(function, lake, request, run_id, now=NOW, **sections):
        facts = RunFacts(
            run_id=run_id, profile="development", trace_id="0" * 32, pipeline="data", as_of="", snapshot="",
            manifest_sha256="0" * 64, annualisation=365, code_version="0",
        )  # fmt: skip
        given = {"lake": lake, "request": request, "now": now, "run": facts}
        if function.spec.params is not None:
            settings = Settings.model_validate(sections)
            params = {name: getattr(settings, name) for name in function.spec.params.model_fields}
            given["params"] = function.spec.params(**params)
        wanted = function.__annotations__
        return function(**{name: value for name, value in given.items() if name in wanted})

    return called


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real market data; tests that need it are skipped where it is absent."""
    default = Path(__file__).parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("QUANTCTL_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip("no real market data here (QUANTCTL_SHARED_DATA)")
    return folder
