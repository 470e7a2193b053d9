"""Stages that return what they may not or exhaust the machine, and bad pipelines, are told by code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quantctl.contracts.errors import InternalError, MemoryFault
from quantctl.contracts.stage import Finding, Outcome, stage
from quantctl.lake.rundir import RunDirectory
from quantctl.workflows import pipelines, registry
from quantctl.workflows.compute import MAX_CHECKPOINT_BYTES, compute

REPORT = {"window": "x"}
TEXT = "# Index\n"


class Session:
    """What a stage without gates needs of a session, on a run directory of its own."""

    def __init__(self, root: Path) -> None:
        self.request = SimpleNamespace(run_id="r")
        lake = SimpleNamespace(lakehouse_dir=root / "lake")
        self.runtime = SimpleNamespace(min_free_mb=0, shared=False, places=lake)
        self.directory = RunDirectory(root, "r", "p")
        self.artifacts: dict[str, Any] = {}

    def stage_arguments(self, spec: Any, attempt: int) -> dict[str, Any]:
        return {}


def _computed(root: Path, returned: Outcome | BaseException) -> dict[str, Any]:
    @stage("alpha.odd", writes=("report_md",))
    def odd() -> Outcome:
        """A stage that does what the test wants."""
        if isinstance(returned, BaseException):
            raise returned
        return returned

    session: Any = Session(root)
    return compute(session, odd.spec, (), 1)  # type: ignore[attr-defined]


def _error(outcome: dict[str, Any]) -> tuple[str, int, str]:
    assert outcome["status"] == "failed"
    return outcome["error"]["code"], outcome["error"]["exit"], outcome["error"]["where"]


def test_an_artifact_that_a_stage_does_not_declare_is_not_written(tmp_path: Path) -> None:
    outcome = _computed(tmp_path, Outcome({"report_md": TEXT, "foundation_report": REPORT}))
    assert _error(outcome) == ("STAGE_OUTPUT", 70, "alpha.odd")
    assert "foundation_report" in outcome["error"]["message"]
    assert outcome["outputs"] == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert _computed(tmp_path, Outcome({"report_md": TEXT}))["status"] == "success"


@pytest.mark.parametrize(
    ("findings", "metrics"),
    [
        ([Finding(level="WARN", code="DATA_GAPS", message="x" * 200)] * 500, {}),  # many
        ([Finding(level="WARN", code="DATA_GAPS", message="x", details={"all": "x" * 15_000})], {}),  # one
        ([], {"all": "x" * MAX_CHECKPOINT_BYTES}),
    ],
)
def test_an_outcome_that_is_a_long_list_is_refused_and_what_was_written_is_named(
    tmp_path: Path, findings: list[Finding], metrics: dict[str, Any]
) -> None:
    given = Outcome({"report_md": TEXT}, findings=findings, metrics=metrics)
    outcome = _computed(tmp_path, given)
    assert _error(outcome) == ("OUTCOME_TOO_LARGE", 70, "alpha.odd")
    assert "a long list of findings is an artifact" in outcome["error"]["message"]
    assert (outcome["findings"], outcome["metrics"]) == ([], {})
    assert [output["name"] for output in outcome["outputs"]] == ["report_md"]


def test_memory_that_is_used_up_is_the_machines_fault_and_leaves_the_run_open(tmp_path: Path) -> None:
    with pytest.raises(MemoryFault) as caught:
        _computed(tmp_path, MemoryError())
    assert (caught.value.code, caught.value.exit_code) == ("OUT_OF_MEMORY", 5)
    assert caught.value.remedy == "free the resource, then: quantctl resume r"


@pytest.fixture
def fresh() -> Iterator[None]:
    """The registry reads the pipelines of the test, and forgets them."""
    caches = (registry.build, registry.all_stages, registry.gates_of)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def test_a_pipeline_whose_stage_reads_what_nobody_wrote_is_refused(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = next(place for place in pipelines.ALPHA if place.startswith("steps.l2_selection"))
    monkeypatch.setitem(pipelines.PIPELINES, "alpha.short", (last,))
    with pytest.raises(InternalError, match="is written by no earlier stage") as caught:
        registry.build("alpha.short")
    assert (caught.value.code, caught.value.exit_code) == ("PIPELINE_INVALID", 70)
    assert caught.value.where in registry.all_stages()


def test_a_gate_behind_another_stage_than_its_own_is_refused(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, gates = next(iter(pipelines.GATES.items()))
    other = next(stage_id for stage_id in pipelines.GATES if stage_id != own)
    monkeypatch.setitem(pipelines.GATES, other, gates)
    with pytest.raises(InternalError, match="do not fit here") as caught:
        registry.gates_of(other)
    assert (caught.value.code, caught.value.where) == ("PIPELINE_INVALID", other)
