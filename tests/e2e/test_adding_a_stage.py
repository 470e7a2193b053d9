"""The worked example of docs/adding-a-stage.md, executed as it is written there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from quantctl.contracts.artifacts import ARTIFACTS, Row
from quantctl.sdk import QuantSDK
from quantctl.workflows import pipelines, registry

DOC = Path(__file__).parents[2] / "docs" / "adding-a-stage.md"
MODULE = "quantctl.steps.reporting.concentration"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> str:
    """Do what the page says: the file, the row, the name. Returns the stage's place."""
    file, row, name = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.S)
    module = types.ModuleType(MODULE)
    monkeypatch.setitem(sys.modules, MODULE, module)
    exec(compile(file, "concentration.py", "exec"), module.__dict__)
    rows = eval("{" + row.strip().rstrip(",") + "}", {"Row": Row})
    place = eval(name.strip().rstrip(","))
    monkeypatch.setitem(ARTIFACTS, *next(iter(rows.items())))
    before = pipelines.ALPHA.index("steps.reporting.report:report")
    longer = (*pipelines.ALPHA[:before], place, *pipelines.ALPHA[before:])
    monkeypatch.setitem(pipelines.PIPELINES, "alpha.full", longer)
    for cached in (registry.build, registry.all_stages, registry.gates_of):
        cached.cache_clear()
    yield place
    for cached in (registry.build, registry.all_stages, registry.gates_of):
        cached.cache_clear()


@pytest.mark.slow
def test_the_example_runs_on_a_finished_run(
    example: str, demo_sdk: QuantSDK, demo_runs: dict[str, str]
) -> None:
    assert example.endswith(":concentration")
    assert "report.concentration" in [stage["id"] for stage in demo_sdk.list_stages("report")]
    context = demo_sdk.run_stage("report.concentration", run_id=demo_runs["LONG"])
    assert context["error"] is None
    assert [output["path"] for output in context["outputs"]] == ["data/concentration.json"]
    assert context["metrics"]["risk_profiles"] > 0
