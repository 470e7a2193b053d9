"""A gate that breaks, or had nothing to examine, is a failed verdict on disk under its own code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.frames.features import FEATURES
from quantctl.contracts.stage import GateSpec, Judgement, Loaded, Outcome, RunFacts, stage
from quantctl.lake.rundir import RunDirectory
from quantctl.steps.l2_selection.gates import judge_enrichment, judge_l1_l2
from quantctl.steps.l3_synthesis.gates import l3
from quantctl.workflows.compute import compute
from quantctl.workflows.registry import all_stages, gates_of

GATES: dict[str, GateSpec] = {gate.id: gate for each in all_stages() for gate in gates_of(each)}
RUN = RunFacts(
    run_id="r", profile="p", trace_id="0" * 32, pipeline="alpha.full", as_of="2025-06-30", snapshot="s1",
    manifest_sha256="0" * 64, annualisation=365, code_version="0",
)  # fmt: skip


@stage("alpha.nothing", writes=())
def nothing() -> Outcome:
    """A stage without inputs and outputs, for the gate behind it."""
    return Outcome({})


class Session:
    """What a gate needs of a session, on a run directory of its own; every artifact is of a wrong type."""

    def __init__(self, root: Path) -> None:
        settings = {"features": {"feat_directional_sign_test_gate_atomic": True}}
        self.request = SimpleNamespace(run_id="r", settings=settings, facts=lambda attempt: RUN)
        lake = SimpleNamespace(lakehouse_dir=root / "lake")
        self.runtime = SimpleNamespace(min_free_mb=0, shared=False, places=lake)
        self.directory = RunDirectory(root, "r", "p")
        self.artifacts: dict[str, Any] = {}

    def stage_arguments(self, spec: Any, attempt: int) -> dict[str, Any]:
        return {}

    def gate_arguments(self, gate: GateSpec, attempt: int) -> dict[str, Any]:
        given = {n: Loaded(n, n, object()) if n in ARTIFACTS else object() for n in gate.inputs}
        common = {"params": object() if gate.params else None, "run": RUN if gate.takes_run else None}
        return given | {name: value for name, value in common.items() if value is not None}

    def input_hashes(self, names: Any) -> dict[str, str | None]:
        return {}


def failed(gate: GateSpec, root: Path) -> tuple[str, int, list[tuple[str, str]], str]:
    """Code and exit of the failed outcome, the findings of the verdict file, and the gate it names."""
    session: Any = Session(root)
    outcome = compute(session, nothing.spec, (gate,), 1)  # type: ignore[attr-defined]
    assert outcome["status"] == "failed"
    body = json.loads(session.directory.path(gate.writes).read_bytes())
    assert body["status"] == "FAIL"
    found = [(finding["level"], finding["code"]) for finding in body["findings"]]
    return outcome["error"]["code"], outcome["error"]["exit"], found, body["gate"]


@pytest.mark.parametrize(
    ("gate", "code", "exit_code"),
    [
        ("foundation", "FOUNDATION_PARSE", 3),
        ("candidates", "CANDIDATES_PARSE", 3),
        ("sign_test.pre_opt", "SIGN_TEST_PRE_OPT_PARSE", 1),
        ("sign_test.post_opt", "SIGN_TEST_POST_OPT_PARSE", 1),
        ("atomic_validation", "ATOMIC_VALIDATION_PARSE", 1),
    ],
)
def test_a_gate_that_breaks_on_its_inputs_is_a_failed_gate_not_a_crash(
    tmp_path: Path, gate: str, code: str, exit_code: int
) -> None:
    assert failed(GATES[gate], tmp_path) == (code, exit_code, [("ERROR", code)], gate)


@pytest.mark.parametrize(
    ("gate", "code", "exit_code"),
    [
        ("foundation", "FOUNDATION_NOTHING_CHECKED", 3),
        ("candidates", "CANDIDATES_NOTHING_CHECKED", 3),
        ("winner_floor", "WINNER_FLOOR_NOTHING_CHECKED", 1),
        ("sign_test.pre_opt", "SIGN_TEST_PRE_OPT_NOTHING_CHECKED", 1),
        ("sign_test.post_opt", "SIGN_TEST_POST_OPT_NOTHING_CHECKED", 1),
        ("regime", "REGIME_NOTHING_CHECKED", 1),
        ("ledger", "LEDGER_NOTHING_CHECKED", 1),
        ("atomic_validation", "ATOMIC_VALIDATION_NOTHING_CHECKED", 1),
    ],
)
@pytest.mark.parametrize("checked", [{}, {"rows": 0}], ids=["no counts", "zero"])
def test_a_judgement_that_counts_nothing_never_passes(
    tmp_path: Path, gate: str, code: str, exit_code: int, checked: dict[str, int]
) -> None:
    """These gates find an error of their own in empty inputs; the runner does not rely on it."""
    vacuous = replace(GATES[gate], function=lambda **_: Judgement([], checked))
    assert failed(vacuous, tmp_path) == (code, exit_code, [("ERROR", code)], gate)


def empty_selection() -> Judgement:
    numbers = dict.fromkeys(FEATURES, pl.Float64)
    store = pl.DataFrame(schema={"symbol": pl.String, "date": pl.Date, **numbers})
    frame = pl.DataFrame(schema={"atom": pl.String, "feature_date": pl.Date, **numbers})
    scores = pl.DataFrame(schema={"atom": pl.String, "alpha_score": pl.Float64})
    audit = SimpleNamespace(winners=[], vetoes={})
    values: list[Any] = [store, frame, scores, SimpleNamespace(winners=[]), audit, SimpleNamespace(rows=[])]
    return judge_l1_l2(*(Loaded("a", "a", value) for value in values), run=RUN)


def empty_enrichment() -> Judgement:
    values: list[Any] = [SimpleNamespace(winners=[]), SimpleNamespace(rows=[])]
    return judge_enrichment(*(Loaded("a", "a", value) for value in values))


def empty_synthesis() -> Judgement:
    dates = pl.DataFrame(schema={"date": pl.Datetime("ns", "UTC")})
    atoms = pl.DataFrame(schema={"atom": pl.String, "direction": pl.String})
    return l3(*(Loaded("a", "a", value) for value in (dates, dates, atoms)))


@pytest.mark.parametrize(
    ("gate", "judgement", "code"),
    [
        ("l1_l2", empty_selection, "L1_L2_NOTHING_CHECKED"),
        ("enrichment", empty_enrichment, "ENRICHMENT_NOTHING_CHECKED"),
        ("l3", empty_synthesis, "L3_NOTHING_CHECKED"),
    ],
)
def test_a_gate_on_empty_inputs_has_nothing_to_examine_and_fails(
    tmp_path: Path, gate: str, judgement: Any, code: str
) -> None:
    found = judgement()
    assert found.findings == []
    assert failed(replace(GATES[gate], function=lambda **_: found), tmp_path) == (
        code, 1, [("ERROR", code)], gate,
    )  # fmt: skip
