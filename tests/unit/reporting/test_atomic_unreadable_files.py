"""Atomic validation of files that are there and mean nothing: told by code and name, and no check is lost."""

from __future__ import annotations

import io

import polars as pl
import pytest

from quantctl.steps.reporting.validation import atomic_validation
from quantctl.workflows.verdicts import failure, verdict

STAMPS = pl.Datetime("ns", "UTC")


def judged(memory_run):
    """The judgement, whose last check is always that of the ledger: no check before it broke."""
    judgement = memory_run.validation()
    assert judgement.extra["checks"][-1]["code"] == "ATOMIC_LEDGER_FAIL"
    return judgement


def message(kit, judgement, code):
    """The message of the one finding of that code, once it ends the run with exit 1."""
    [found] = [finding for finding in judgement.findings if finding.code == code]
    assert found.level == "ERROR"
    alone = type(judgement)([found], judgement.checked)
    gate = atomic_validation.spec
    error = failure(gate, alone, verdict(gate, alone, kit.facts, {}), "verdict.json")
    assert (error.code, error.exit_code) == (code, 1)
    return found.message


@pytest.mark.parametrize(
    ("name", "data", "code", "says"),
    [
        ("returns_matrix", b"PAR1", "ATOMIC_RETURNS_PARSE", "the returns matrix is readable"),
        ("portfolio_flattened", b"[]", "ATOMIC_FLATTEN_PARSE", "portfolio_flattened is strict JSON"),
        ("portfolio_flattened", b'{"a":1,"a":2}', "ATOMIC_FLATTEN_PARSE", "portfolio_flattened is strict"),
        ("sign_test_pre_opt", b"{", "ATOMIC_SIGN_TEST_PRE_PARSE", "sign_test_pre_opt.json is not"),
        ("sign_test", b"[]", "ATOMIC_SIGN_TEST_POST_PARSE", "sign_test.json is not strict JSON"),
        ("sign_test", None, "ATOMIC_SIGN_TEST_POST_MISSING", "sign_test.json is absent"),
        ("sign_test_pre_opt", b'{"findings":["x"]}', "ATOMIC_SIGN_TEST_PRE_FAIL", "1 errors over 0 atoms"),
        ("sign_test_pre_opt", b'{"checked":3}', "ATOMIC_SIGN_TEST_PRE_FAIL", "0 errors over 0 atoms"),
    ],
)
def test_bytes_without_meaning_are_told_by_code_and_name(memory_run, kit, name, data, code, says):
    if data is None:
        del memory_run.files[kit.path(name)]
    else:
        memory_run.files[kit.path(name)] = data
    assert says in message(kit, judged(memory_run), code)


@pytest.mark.parametrize(
    "edit",
    [
        lambda f: f.with_columns(pl.col("date").cast(pl.String)),
        lambda f: f.with_columns(pl.lit(None, STAMPS).alias("date")),
        lambda f: f.with_columns(pl.int_range(pl.len()).alias("date")),
        lambda f: f.with_columns(pl.lit([1]).alias("date")),
        lambda f: f.with_columns(pl.lit("x").alias("X:A_1")),
        lambda f: f.drop("date"),
    ],
    ids=["text", "null", "numbers", "lists", "text returns", "absent"],
)
def test_a_matrix_without_dates_or_numbers_breaks_l0_and_not_the_gate(memory_run, kit, edit):
    frame = pl.read_parquet(io.BytesIO(memory_run.files[kit.path("returns_matrix")]))
    memory_run.replace("returns_matrix", kit.parquet(edit(frame)))
    assert "dates increase" in message(kit, judged(memory_run), "ATOMIC_L0_FAIL")


@pytest.mark.parametrize(
    "edit",
    [
        lambda f: f.drop("atom"),
        lambda f: f.drop("factor"),
        lambda f: f.with_columns(pl.lit("1").alias("factor")),
        lambda f: f.with_columns(pl.lit(None, pl.Int8).alias("deploy_gate")),
        lambda f: f.with_columns(pl.lit(None, pl.String).alias("symbol")),
    ],
    ids=["no atom", "no factor", "text factor", "null gate", "null symbol"],
)
def test_an_atom_table_that_cannot_be_summed_conserves_nothing(memory_run, kit, edit):
    frame = pl.read_parquet(io.BytesIO(memory_run.files[kit.path("atoms")]))
    memory_run.replace("atoms", kit.parquet(edit(frame)))
    assert message(kit, judged(memory_run), "ATOMIC_CONSERVATION").startswith("the atom table needs atom")
