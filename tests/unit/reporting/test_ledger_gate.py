"""The ledger gate: a ledger that does not account for the run and its files is found, and told how."""

from __future__ import annotations

import pytest

from quantctl.contracts.artifacts import path_of
from quantctl.contracts.canonical import canonical
from quantctl.contracts.ledger_chain import line_of


def codes(judgement):
    return {finding.code for finding in judgement.findings}


def booked(run, kind, name):
    return next(d for d in run.drafts if d["type"] == kind and any(o["name"] == name for o in d["outputs"]))


def outcome(run, stage, status="success"):
    return next(d for d in run.drafts if d["type"] == "stage" and (d["step"], d["status"]) == (stage, status))


def test_a_valid_ledger_has_no_finding_inside_the_run_and_in_an_audit(memory_run):
    assert memory_run.ledger().findings == []
    memory_run.finish()
    assert memory_run.ledger(terminal=True).findings == []
    assert memory_run.validation(terminal=True).findings == []


def test_the_verdict_names_the_ledger_by_records_and_body_chain(memory_run):
    judgement = memory_run.ledger()
    assert judgement.extra["records"] == len(memory_run.records)
    assert len(judgement.extra["body_chain"]) == 64


GATES = [
    "gate_foundation", "gate_candidates", "gate_l0", "gate_l1_l2", "gate_winners", "gate_enrichment",
    "gate_l3", "gate_regime", "gate_l4_synthetic", "gate_l4_physical", "sign_test_pre_opt", "sign_test",
]  # fmt: skip


@pytest.mark.parametrize("name", GATES)
def test_a_removed_gate_record_is_found(memory_run, name):
    memory_run.drafts.remove(booked(memory_run, "gate", name))
    found = [f for f in memory_run.ledger().findings if f.code == "LEDGER_GATE_MISSING"]
    assert [f.symbol for f in found] == [name]


@pytest.mark.parametrize("name", GATES)
def test_a_faked_pass_is_found(memory_run, kit, name):
    memory_run.replace(name, kit.verdict("x", status="FAIL", errors=1))
    memory_run.files[kit.path(name)] = kit.verdict("x")
    assert codes(memory_run.ledger()) == {"LEDGER_GATE_MISSING", "LEDGER_ARTIFACT"}


@pytest.mark.parametrize("name", GATES)
def test_a_record_that_tells_another_status_than_its_verdict_is_found(memory_run, kit, name):
    memory_run.replace(name, kit.verdict("x", status="WARN", warnings=2))
    assert [(f.code, f.symbol) for f in memory_run.ledger().findings] == [("LEDGER_UNTYPED", name)]


@pytest.mark.parametrize("name", ["ledger_verdict", "atomic_validation"])
def test_an_audit_asks_for_the_gates_of_validation_too(memory_run, name):
    memory_run.finish()
    memory_run.drafts.remove(booked(memory_run, "gate", name))
    assert codes(memory_run.ledger(terminal=True)) == {"LEDGER_GATE_MISSING"}


def test_the_sign_tests_are_not_asked_for_where_the_gate_is_off(memory_run):
    memory_run.sign, memory_run.direction = False, "LONG"
    for name in ("sign_test_pre_opt", "sign_test"):
        memory_run.drafts.remove(booked(memory_run, "gate", name))
    assert codes(memory_run.ledger()) == set()


def test_an_unclosed_run_fails_an_audit(memory_run):
    memory_run.finish().drafts.pop()
    assert codes(memory_run.ledger(terminal=True)) == {"LEDGER_TRUNCATED"}


def test_a_closed_run_that_goes_on_without_being_reopened_is_found(memory_run):
    memory_run.finish()
    memory_run.book("event", "info", code="NOTE")
    memory_run.book("closed", "info")
    assert codes(memory_run.ledger(terminal=True)) == {"LEDGER_TRUNCATED"}


def test_an_intent_without_outcome_is_unbalanced(memory_run):
    memory_run.drafts.remove(outcome(memory_run, "selection.enrichment"))
    assert "LEDGER_UNBALANCED" in codes(memory_run.ledger())


def test_an_outcome_without_intent_is_unbalanced(memory_run):
    memory_run.drafts.remove(outcome(memory_run, "selection.enrichment", "intent"))
    assert "LEDGER_UNBALANCED" in codes(memory_run.ledger())


def test_a_stage_of_the_pipeline_that_nobody_mentions_is_unbalanced(memory_run):
    memory_run.drafts[0]["data"]["stages"].insert(3, "selection.extra")
    found = memory_run.ledger().findings
    assert [(f.code, "selection.extra" in f.message) for f in found] == [("LEDGER_UNBALANCED", True)]
    memory_run.book("stage", "skipped", "selection.extra")
    assert memory_run.ledger().findings == []


def test_a_stage_both_done_and_skipped_is_unbalanced(memory_run):
    memory_run.book("stage", "skipped", "allocation.regime")
    assert codes(memory_run.ledger()) == {"LEDGER_UNBALANCED"}


def test_a_record_of_another_trace_is_found(memory_run):
    memory_run.drafts[4]["trace_id"] = "b" * 32
    assert "LEDGER_TRACE" in codes(memory_run.ledger())


def test_a_record_without_trace_is_found(memory_run):
    memory_run.drafts[4]["trace_id"] = ""
    assert "LEDGER_TRACE" in codes(memory_run.ledger())


def lines(run):
    return [line_of(record) for record in run.records]


@pytest.mark.parametrize(
    "doctor",
    [
        lambda found: b"",
        lambda found: b"".join(found[:-1]),
        lambda found: b"".join(found[1:]),
        lambda found: b"".join(found).replace(b'"success"', b'"failed"', 1),
        lambda found: b"".join([*found[:3], found[4], found[3], *found[5:]]),
        lambda found: b"".join(found) + found[-1],
        lambda found: b"".join(found) + b"{",
    ],
)
def test_a_projection_that_differs_from_the_database_is_found(memory_run, doctor):
    judgement = memory_run.ledger(projection=doctor(lines(memory_run)))
    assert codes(judgement) == {"LEDGER_PROJECTION"}


def test_the_intent_of_validation_may_be_projected_already(memory_run):
    before = b"".join(lines(memory_run))
    memory_run.book("stage", "intent", "report.validation")
    after = b"".join(lines(memory_run))
    memory_run.drafts.pop()
    assert memory_run.ledger(projection=after).findings == []
    assert memory_run.ledger(projection=before).findings == []


def test_in_an_audit_no_line_more_is_allowed(memory_run):
    memory_run.finish()
    longer = b"".join(lines(memory_run)) + canonical({"step": "report.validation"}) + b"\n"
    assert codes(memory_run.ledger(terminal=True, projection=longer)) == {"LEDGER_PROJECTION"}


STATES = [
    ("FALLBACK", "ALLOCATION_FALLBACK", {"from": "hrp", "to": "erc"}),
    ("INFEASIBLE", "INFEASIBLE", {"profile": "hrp"}),
    ("INFEASIBLE", "ALLOCATION_RESULT", {"profile": "hrp", "status": "INFEASIBLE"}),
]


@pytest.mark.parametrize(("state", "code", "details"), STATES)
@pytest.mark.parametrize("name", ["portfolio_optimized_v2", "portfolio_flattened"])
def test_a_state_of_a_weight_file_needs_its_decision(memory_run, name, state, code, details):
    memory_run.rewrite(name, lambda body: body["profiles"]["hrp"].update(status=state, reason="X"))
    assert [(f.code, f.symbol) for f in memory_run.ledger().findings] == [("LEDGER_UNTYPED", state)]
    memory_run.decide(code, **details)
    assert memory_run.ledger().findings == []


def test_the_decision_about_another_risk_profile_does_not_count(memory_run):
    memory_run.rewrite("portfolio_optimized_v2", lambda b: b["profiles"]["hrp"].update(status="FALLBACK"))
    memory_run.decide("ALLOCATION_FALLBACK", **{"from": "equal_weight", "to": "hrp"})
    assert codes(memory_run.ledger()) == {"LEDGER_UNTYPED"}


def test_all_cash_needs_its_decision(memory_run):
    memory_run.rewrite("portfolio_flattened", lambda b: b["profiles"]["hrp"].update(status="ALL_CASH"))
    assert codes(memory_run.ledger()) == {"LEDGER_UNTYPED"}
    memory_run.decide("ALL_CASH", "allocation.flattening", profile="hrp")
    assert memory_run.ledger().findings == []


def test_a_relaxed_cap_needs_its_decision(memory_run):
    memory_run.rewrite(
        "portfolio_optimized_v2", lambda b: b["profiles"]["hrp"]["constraints"].update(cap_relaxed=True)
    )
    assert codes(memory_run.ledger()) == {"LEDGER_UNTYPED"}
    memory_run.decide("CAP_RELAXED", kind="weight")
    assert memory_run.ledger().findings == []


def test_scarcity_needs_its_decision(memory_run):
    memory_run.rewrite("selection_audit", lambda b: b.update(scarcity={"level": "SCARCE", "n": 9}))
    assert codes(memory_run.ledger()) == {"LEDGER_UNTYPED"}
    memory_run.decide("SCARCITY", "selection.policy", n=9)
    assert memory_run.ledger().findings == []


def failed_once(run, stage):
    """The run up to `stage`, which failed, closed, and opened again from there."""
    names = list(run.drafts[0]["data"]["stages"])
    position = next(i for i, d in enumerate(run.drafts) if d["step"] == stage)
    del run.drafts[position:]
    run.stage(stage, status="failed")
    for later in names[names.index(stage) + 1 :]:
        run.book("stage", "skipped", later)
    run.book("closed", "info", data={"state": "FAILED"})
    later = {o for name in names[names.index(stage) + 1 :] for o in outputs(name)}
    kept = {name: run.files.pop(p) for name in later if (p := run_path(name)) in run.files}
    before = {name: run.files[run_path(name)] for name in outputs(stage)}
    run.reopen(stage, 2)
    run.files |= {run_path(name): data for name, data in (before | kept).items()}
    return names[names.index(stage) :]


def outputs(stage):
    from_conftest = {
        "allocation.regime": ("regime", "gate_regime"),
        "allocation.optimization": ("portfolio_optimized_v2", "gate_l4_synthetic", "sign_test"),
        "allocation.flattening": ("portfolio_flattened", "gate_l4_physical"),
        "report.validation": (),
    }
    return from_conftest[stage]


def run_path(name):
    return path_of(name, profile="p", run_id="r1")


def retried(run, stage):
    again = failed_once(run, stage)
    for name in again[:-1]:
        run.stage(name, attempt=2)
    return run


@pytest.mark.parametrize("stage", ["allocation.regime", "allocation.optimization", "allocation.flattening"])
def test_after_a_retry_the_first_attempt_verifies_in_its_own_place(memory_run, stage):
    run = retried(memory_run, stage)
    assert any(path.startswith("attempts/1/") for path in run.files)
    assert run.ledger().findings == []
    assert run.validation().findings == []
    run.finish(attempt=2)
    assert run.ledger(terminal=True).findings == []
    assert run.validation(terminal=True).findings == []


def test_a_doctored_verdict_of_a_superseded_attempt_is_found(memory_run):
    run = retried(memory_run, "allocation.optimization")
    place = f"attempts/1/{run_path('gate_l4_synthetic')}"
    run.files[place] += b" "
    found = [f.message for f in run.ledger().findings if f.code == "LEDGER_ARTIFACT"]
    assert place in found[0]
    del run.files[place]
    assert codes(run.ledger()) == {"LEDGER_ARTIFACT"}


def test_a_copy_below_attempts_excuses_no_doctored_file(memory_run):
    path = run_path("portfolio_flattened")
    memory_run.files[f"attempts/1/{path}"] = memory_run.files[path]
    memory_run.files[path] += b" "
    assert "LEDGER_ARTIFACT" in codes(memory_run.ledger())


def test_a_gate_that_was_not_repeated_after_a_retry_is_missing(memory_run):
    run = retried(memory_run, "allocation.optimization")
    records = [d for d in run.drafts if d["type"] == "gate" and d["attempt"] == 2]
    run.drafts.remove(next(d for d in records if d["outputs"][0]["name"] == "sign_test"))
    assert "LEDGER_GATE_MISSING" in codes(run.ledger())


def test_a_retry_of_validation_alone_verifies(memory_run):
    run = memory_run.finish()
    run.drafts[-1]["data"] = {"state": "FAILED"}
    for name in ("ledger_verdict", "atomic_validation"):
        run.files[f"attempts/1/{run_path(name)}"] = run.files.pop(run_path(name))
    assert run.ledger().findings == []  # the reopening is not among the records yet
    assert run.validation().findings == []
    run.book("event", "info", "report.validation", 2, "REOPENED",
             data={"attempt": 2, "from_stage": "report.validation"})  # fmt: skip
    run.finish(attempt=2)
    assert run.ledger(terminal=True).findings == []
    assert run.validation(terminal=True).findings == []


def test_an_empty_ledger_is_a_finding_and_no_crash(memory_run):
    memory_run.drafts.clear()
    assert "LEDGER_GENESIS" in codes(memory_run.ledger())
