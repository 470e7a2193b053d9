"""Atomic validation: every doctored file is named by its own code, and no check hides another."""

from __future__ import annotations

import io

import polars as pl
import pytest

from quantctl.contracts.canonical import canonical
from quantctl.contracts.errors import QuantError
from quantctl.contracts.records.validation import AtomicValidation
from quantctl.steps.reporting.validation import atomic_validation, render

ALWAYS = {
    "ATOMIC_MISSING_ARTIFACTS", "ATOMIC_MANIFEST_PARSE", "ATOMIC_RETURNS_PARSE", "ATOMIC_OPT_PARSE",
    "ATOMIC_FLATTEN_PARSE", "ATOMIC_STALE_INPUT", "ATOMIC_LEDGER_FAIL",
}  # fmt: skip
REQUIRED = [
    "resolved_manifest", "returns_matrix", "synthetic_returns", "portfolio_optimized_v2", "atoms",
    "portfolio_flattened", "synthetic_gates", "sign_test_pre_opt", "sign_test",
]  # fmt: skip
PARSE = {
    "resolved_manifest": "ATOMIC_MANIFEST_PARSE", "returns_matrix": "ATOMIC_RETURNS_PARSE",
    "portfolio_optimized_v2": "ATOMIC_OPT_PARSE", "portfolio_flattened": "ATOMIC_FLATTEN_PARSE",
    "sign_test_pre_opt": "ATOMIC_SIGN_TEST_PRE_PARSE", "sign_test": "ATOMIC_SIGN_TEST_POST_PARSE",
}  # fmt: skip


def codes(judgement):
    return {finding.code for finding in judgement.findings}


def every_check_ran(judgement):
    return {check["code"] for check in judgement.extra["checks"]} >= ALWAYS


def test_a_valid_run_passes_and_lists_its_checks(memory_run):
    judgement = memory_run.validation()
    assert judgement.findings == []
    assert every_check_ran(judgement)
    assert judgement.extra["stats"]["n_days"] == 30
    assert judgement.extra["stats"]["has_saturday"]
    assert judgement.extra["artifacts"]["atoms"]["rows"] == 3
    assert "sha256" not in judgement.extra["artifacts"]["audit_ledger"]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_file_is_named(memory_run, kit, name):
    judgement = memory_run.validation(without=(kit.path(name),))
    missing = next(f for f in judgement.findings if f.code == "ATOMIC_MISSING_ARTIFACTS")
    assert missing.message == f"missing: {name}"
    assert every_check_ran(judgement)
    if name.startswith("sign_test"):
        assert f"ATOMIC_SIGN_TEST_{'PRE' if 'pre' in name else 'POST'}_MISSING" in codes(judgement)


def test_every_missing_file_is_listed_at_once(memory_run, kit):
    judgement = memory_run.validation(without=(kit.path("atoms"), kit.path("sign_test")))
    missing = next(f for f in judgement.findings if f.code == "ATOMIC_MISSING_ARTIFACTS")
    assert missing.message == "missing: atoms, sign_test"


@pytest.mark.parametrize("name", REQUIRED)
def test_an_empty_file_counts_as_missing(memory_run, kit, name):
    memory_run.files[kit.path(name)] = b""
    judgement = memory_run.validation()
    assert {"ATOMIC_MISSING_ARTIFACTS"} < codes(judgement)
    assert every_check_ran(judgement)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_truncated_file_is_found_by_hash_and_by_reading(memory_run, kit, name):
    data = memory_run.files[kit.path(name)]
    memory_run.files[kit.path(name)] = data[: len(data) // 2]
    judgement = memory_run.validation()
    expected = {PARSE[name]} if name in PARSE else set()
    if name != "resolved_manifest":  # it carries time: referred to by its content, not by its bytes
        expected |= {"ATOMIC_STALE_INPUT", "ATOMIC_LEDGER_FAIL"}
    assert expected <= codes(judgement)
    assert every_check_ran(judgement)


@pytest.mark.parametrize("name", [name for name in REQUIRED if name != "resolved_manifest"])
def test_one_more_byte_makes_a_file_stale(memory_run, kit, name):
    memory_run.files[kit.path(name)] += b"\n"
    found = [f for f in memory_run.validation().findings if f.code == "ATOMIC_STALE_INPUT"]
    assert kit.path(name) in found[0].message


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        ({"profile": "other"}, "ATOMIC_PROFILE_MISMATCH"),
        ({"run_id": "r2"}, "ATOMIC_PROFILE_MISMATCH"),
        ({"settings": {"sleeve": {"direction": "LONG"}}}, "ATOMIC_STALE_INPUT"),
    ],
)
def test_an_edited_manifest_is_found(memory_run, edit, code):
    memory_run.rewrite("resolved_manifest", lambda body: body.update(edit))
    assert code in codes(memory_run.validation())


def test_the_time_of_a_manifest_is_no_part_of_its_hash(memory_run):
    memory_run.rewrite("resolved_manifest", lambda body: body.update(created_at="2030-01-01", replay=["x"]))
    assert memory_run.validation().findings == []


@pytest.mark.parametrize("phase", ["PRE", "POST"])
@pytest.mark.parametrize(
    "lie",
    [
        {"errors": 1},
        {"status": "FAIL"},
        {"checked": {"atoms": 0}},
        {"checked": {}},
        {"warnings": 2},
        {"findings": [{"level": "ERROR", "code": "SIGNTEST_LONG_MISMATCH"}]},
        {"findings": None, "errors": 1},
    ],
)
def test_a_sign_verdict_must_hold_together(memory_run, kit, phase, lie):
    name = "sign_test_pre_opt" if phase == "PRE" else "sign_test"
    memory_run.replace(name, kit.verdict("sign_test", **lie))
    assert f"ATOMIC_SIGN_TEST_{phase}_FAIL" in codes(memory_run.validation())


def test_a_verdict_without_an_error_count_has_an_error(memory_run):
    memory_run.rewrite("sign_test", lambda body: body.pop("errors"))
    assert "ATOMIC_SIGN_TEST_POST_FAIL" in codes(memory_run.validation())


def test_the_sign_tests_are_not_asked_for_where_a_long_sleeve_switched_them_off(memory_run, kit):
    memory_run.sign, memory_run.direction = False, "LONG"
    judgement = memory_run.validation()
    assert not [c for c in judgement.extra["checks"] if c["family"] == "ATOMIC_SIGN_TEST"]
    assert not judgement.extra["require_sign_gate"]
    assert "sign_test" not in judgement.extra["artifacts"]


def test_no_switch_turns_the_sign_test_of_a_short_sleeve_off(memory_run, kit):
    memory_run.sign, memory_run.direction = False, "SHORT"
    assert "ATOMIC_SIGN_TEST_PRE_MISSING" in codes(
        memory_run.validation(without=(kit.path("sign_test_pre_opt"),))
    )


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity"])
def test_a_weight_file_with_a_number_that_json_lacks_is_unreadable(memory_run, kit, literal):
    path = kit.path("portfolio_optimized_v2")
    memory_run.files[path] = memory_run.files[path].replace(b'"kappa":12', b'"kappa":' + literal)
    assert "ATOMIC_OPT_PARSE" in codes(memory_run.validation())


def test_not_a_number_cannot_be_written():
    with pytest.raises(QuantError) as stopped:
        canonical({"Weight": float("nan")})
    assert stopped.value.exit_code == 70


def hrp(body):
    return body["profiles"]["hrp"]


@pytest.mark.parametrize(
    ("name", "edit", "code"),
    [
        ("portfolio_optimized_v2", lambda b: hrp(b)["conditioning"].pop("kappa"), "ATOMIC_OPT_SCHEMA"),
        ("portfolio_optimized_v2", lambda b: hrp(b)["conditioning"].update(kappa=5000.0), "ATOMIC_KAPPA"),
        ("portfolio_optimized_v2", lambda b: b.update(space="physical"), "ATOMIC_OPT_SCHEMA"),
        ("portfolio_optimized_v2", lambda b: b.update(note="x"), "ATOMIC_OPT_SCHEMA"),
        ("portfolio_optimized_v2", lambda b: hrp(b)["assets"][0].update(Weight=0.6), "ATOMIC_OPT_SCHEMA"),
        ("portfolio_optimized_v2", lambda b: hrp(b)["assets"][0].update(Weight=-0.5), "ATOMIC_OPT_SCHEMA"),
        ("portfolio_optimized_v2", lambda b: hrp(b)["totals"].update(cash=1e-6), "ATOMIC_OPT_SCHEMA"),
        ("portfolio_optimized_v2", lambda b: b["profiles"].pop("equal_weight"), "ATOMIC_CONSERVATION"),
        ("portfolio_optimized_v2", lambda b: b["profiles"].pop("hrp"), "ATOMIC_EMPTY_PRIMARY"),
        ("portfolio_optimized_v2", lambda b: hrp(b)["assets"][0].update(Symbol="X:Z"), "ATOMIC_CONSERVATION"),
        ("portfolio_flattened", lambda b: b.update(space="synthetic"), "ATOMIC_FLATTEN_SCHEMA"),
        ("portfolio_flattened", lambda b: b["profiles"].pop("equal_weight"), "ATOMIC_CONSERVATION"),
        ("portfolio_flattened", lambda b: hrp(b)["totals"].update(gated_cash=0.1), "ATOMIC_FLATTEN_SCHEMA"),
        ("portfolio_flattened", lambda b: hrp(b).update(assets=[]), "ATOMIC_EMPTY_FLATTENED"),
        ("portfolio_flattened", lambda b: hrp(b)["assets"][0].update(Symbol="X:B.P"), "ATOMIC_CONSERVATION"),
    ],
)  # fmt: skip
def test_a_weight_file_that_is_wrong_is_named_even_where_every_hash_agrees(memory_run, name, edit, code):
    memory_run.rewrite(name, edit)
    judgement = memory_run.validation()
    assert code in codes(judgement)
    assert every_check_ran(judgement)


def test_a_position_turned_from_long_to_short_does_not_conserve(memory_run):
    def turn(body):
        hrp(body)["assets"][0].update(Net_Weight=-0.2, Direction="SHORT")
        hrp(body)["totals"].update(net=-0.2, self_financing_cash=1.2)

    memory_run.rewrite("portfolio_flattened", turn)
    assert codes(memory_run.validation()) >= {"ATOMIC_CONSERVATION"}


@pytest.mark.parametrize("profile", ["hrp", "equal_weight"])
def test_every_risk_profile_is_recomputed(memory_run, profile):
    def shift(body):
        body["profiles"][profile]["assets"][0]["Weight"] += 1e-6
        body["profiles"][profile]["assets"][1]["Weight"] -= 1e-6
        body["profiles"][profile]["assets"][0]["Net_Weight"] += 1e-6
        body["profiles"][profile]["assets"][1]["Net_Weight"] -= 1e-6

    memory_run.rewrite("portfolio_optimized_v2", shift)
    found = [f for f in memory_run.validation().findings if f.code == "ATOMIC_CONSERVATION"]
    assert profile in found[0].message


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda f: f.head(0), "ATOMIC_EMPTY_RETURNS"),
        (lambda f: f.select("date"), "ATOMIC_EMPTY_RETURNS"),
        (lambda f: f.with_columns(f["X:A_1"].scatter(3, 5.5)), "ATOMIC_L0_FAIL"),
        (lambda f: f.with_columns(f["X:A_1"].scatter(3, -1.5)), "ATOMIC_L0_FAIL"),
        (lambda f: f.with_columns(f["X:A_1"].scatter(3, float("nan"))), "ATOMIC_L0_FAIL"),
        (lambda f: f.with_columns(f["X:A_1"].scatter(3, None)), "ATOMIC_L0_FAIL"),
        (lambda f: f.reverse(), "ATOMIC_L0_FAIL"),
        (lambda f: f.vstack(f.tail(1)), "ATOMIC_L0_FAIL"),
        (lambda f: f.select("X:A_1", "date"), "ATOMIC_L0_FAIL"),
    ],
)
def test_returns_that_break_l0_are_found_even_where_every_hash_agrees(memory_run, kit, edit, code):
    frame = pl.read_parquet(io.BytesIO(memory_run.files[kit.path("returns_matrix")]))
    memory_run.replace("returns_matrix", kit.parquet(edit(frame)))
    assert code in codes(memory_run.validation())


def test_a_run_without_a_ledger_verdict_does_not_pass(memory_run, kit):
    judgement = atomic_validation(
        run_files=memory_run.seen(), ledger_records=memory_run.records, params=memory_run.params,
        run=kit.facts,
    )  # fmt: skip
    assert [f.code for f in judgement.findings] == ["ATOMIC_LEDGER_FAIL"]


def test_a_ledger_verdict_with_errors_fails_the_run(memory_run, kit):
    memory_run.files[kit.path("ledger_verdict")] = kit.verdict("ledger", errors=2, status="FAIL")
    judgement = atomic_validation(
        run_files=memory_run.seen(), ledger_records=memory_run.records, params=memory_run.params,
        run=kit.facts,
    )  # fmt: skip
    assert "ATOMIC_LEDGER_FAIL" in codes(judgement)


def test_the_page_is_made_from_the_json_alone(memory_run, kit):
    judgement = memory_run.validation(without=(kit.path("atoms"),))
    body = {
        "schema": "quantctl.gate/1", "gate": "atomic_validation", "run_id": "r1", "profile": "p",
        "trace_id": "a" * 32, "status": "FAIL", "errors": len(judgement.findings), "warnings": 0,
        "findings": [f.model_dump() | {"run_id": "r1"} for f in judgement.findings],
        "checked": judgement.checked, "inputs": {}, **judgement.extra,
    }  # fmt: skip
    AtomicValidation.model_validate(body)
    page = render(body)
    assert page.startswith("# Atomic Validation: p\n")
    assert "## Status: FAIL" in page
    assert "| FAIL | ATOMIC_MISSING_ARTIFACT | ATOMIC_MISSING_ARTIFACTS | missing: atoms |" in page
