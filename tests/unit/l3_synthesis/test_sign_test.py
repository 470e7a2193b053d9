"""The sign test: each corruption fires exactly its code."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.codes import exit_of
from quantctl.contracts.settings.sleeve import SleeveSettings
from quantctl.contracts.settings.synthesis import SynthesisSettings
from quantctl.contracts.stage import Loaded
from quantctl.steps.l3_synthesis.sign_test import SignTestParams, sign_test_post_opt, sign_test_pre_opt
from quantctl.steps.l3_synthesis.synthesis import SynthesisParams, synthesise

WINNERS = [("X:A_B.P", "rating_all", "LONG"), ("X:A_B.P", "trend", "SHORT"), ("X:C", "momentum", "LONG"),
           ("X:D", "vol_breakout", "SHORT"), ("X:E", "reversion", "SHORT")]  # fmt: skip
LONG = "X:A_B.P_rating_all_LONG"
SHORT = "X:D_vol_breakout_SHORT"
GATED = "X:C_momentum_LONG"


def run(**changed):
    """Judge a good run in which some inputs are replaced; `None` stands for a missing file."""
    files = good() | {name: value for name, value in changed.items() if name not in ("direction", "post")}
    loaded = {n: Loaded(n, n, v, None, None if v is not None else "missing") for n, v in files.items()}
    sleeve = SleeveSettings(direction=changed.get("direction", "MIXED"))
    params = SignTestParams(sleeve=sleeve, synthesis=SynthesisSettings())
    if changed.get("post"):
        return sign_test_post_opt(**loaded, params=params)
    loaded.pop("portfolio_optimized_v2")
    return sign_test_pre_opt(**loaded, params=params)


def good():
    rng = np.random.default_rng(4)
    names = ["X:A_B.P", "X:C", "X:D", "X:E"]
    start = pl.datetime(2024, 1, 1, time_zone="UTC", time_unit="ns")
    matrix = pl.DataFrame({n: rng.normal(0, 0.03, 120) for n in names}).select(
        (start + pl.int_range(pl.len()) * timedelta(days=1)).cast(pl.Datetime("ns", "UTC")).alias("date"),
        pl.all(),
    )
    facts = {"cluster": "1", "alpha_score": 0.5, "stage_admitted": 1}
    winners = [SimpleNamespace(symbol=s, logic=lo, direction=d, **facts)
               for s, lo, d in WINNERS]  # fmt: skip
    chosen = SimpleNamespace(winners=winners)
    report = SimpleNamespace(column_roles={n: ["pool"] for n in names})
    outputs = dict(synthesise(chosen, matrix, report, SynthesisParams(synthesis=SynthesisSettings())).outputs)
    rows = [
        {"Symbol": a, "Weight": 0.2, "Net_Weight": 0.2, "Direction": "LONG"} for a in outputs["atoms"]["atom"]
    ]
    solver = {"space": "synthetic", "profiles": {"hrp": {"status": "OPTIMAL", "assets": rows}}}
    return outputs | {
        "returns_matrix": matrix,
        "portfolio_candidates": chosen,
        "portfolio_optimized_v2": solver,
    }


def codes(judgement):
    return sorted({finding.code for finding in judgement.findings})


def poked(frame: pl.DataFrame, column: str, value, row: int = 50) -> pl.DataFrame:
    values = frame[column].to_list()
    values[row] = value(values[row]) if callable(value) else value
    return frame.with_columns(pl.Series(column, values, dtype=frame.schema[column]))


def test_a_good_run_passes_and_counts_what_it_saw():
    judged = run(post=True)
    assert judged.findings == []
    assert judged.checked == {"atoms": 5, "long_atoms": 2, "short_atoms": 3, "gated_atoms": 3, "rows": 100,
                              "risk_profiles": 1, "optimizer_rows": 5}  # fmt: skip
    assert judged.extra == {"atol": 0.0, "n_atoms": 5, "n_rows": 100}


NO_WINNERS = SimpleNamespace(winners=[])


def poke(name: str, column: str, value):
    """A change of one cell of the file `name`."""
    return lambda files: {name: poked(files[name], column, value)}


def without(name: str, column: str):
    return lambda files: {name: files[name].drop(column)}


def an_hour_late(files):
    frame = files["synthetic_returns"]
    late = pl.when(pl.int_range(pl.len()) == 50).then(timedelta(hours=1)).otherwise(timedelta())
    return {"synthetic_returns": frame.with_columns(pl.col("date") + late)}


def no_atoms(files):
    bare = {name: files[name].select("date") for name in ("synthetic_returns", "synthetic_gates")}
    return bare | {"atoms": files["atoms"].clear(), "portfolio_candidates": NO_WINNERS}


def flat(files):
    return {
        "returns_matrix": files["returns_matrix"].with_columns(pl.lit(0.0).alias("X:D")),
        "synthetic_returns": files["synthetic_returns"].with_columns(pl.lit(0.0).alias(SHORT)),
    }


def stranger(files):
    frame = files["synthetic_returns"]
    return {"synthetic_returns": frame.with_columns(frame[LONG].alias("X:Z"))}


@pytest.mark.parametrize(
    ("code", "named", "change"),
    [
        ("SIGNTEST_MISSING_SYNTHETIC", None, lambda f: {"synthetic_returns": None}),
        ("SIGNTEST_MISSING_RAW", None, lambda f: {"returns_matrix": None}),
        ("SIGNTEST_MISSING_ATOMS", None, lambda f: {"atoms": None}),
        ("SIGNTEST_MISSING_GATES", None, lambda f: {"synthetic_gates": None}),
        ("SIGNTEST_MISSING_GATES", SHORT, without("synthetic_gates", SHORT)),
        ("SIGNTEST_LONG_MISMATCH", LONG, poke("synthetic_returns", LONG, lambda x: -x)),
        ("SIGNTEST_SHORT_NOT_INVERTED", SHORT, poke("synthetic_returns", SHORT, lambda x: -x)),
        (
            "SIGNTEST_SHORT_NOT_INVERTED",
            SHORT,
            poke("synthetic_returns", SHORT, lambda x: np.nextafter(x, 9)),
        ),
        ("SIGNTEST_NAN_MASK", LONG, poke("synthetic_returns", LONG, float("nan"))),
        ("SIGNTEST_NAN_MASK", SHORT, poke("synthetic_gates", SHORT, None)),
        ("SIGNTEST_NAN_MASK", SHORT, poke("returns_matrix", "X:D", None)),
        ("SIGNTEST_INDEX_MISMATCH", None, an_hour_late),
        ("SIGNTEST_INDEX_MISMATCH", None, lambda f: {"synthetic_gates": f["synthetic_gates"].slice(1)}),
        ("SIGNTEST_INDEX_MISMATCH", None, lambda f: {"returns_matrix": f["returns_matrix"].slice(1)}),
        ("SIGNTEST_GATE_INVALID", GATED, poke("synthetic_gates", GATED, lambda g: 1 - g)),
        ("SIGNTEST_GATE_INVALID", LONG, poke("synthetic_gates", LONG, 0)),
        ("SIGNTEST_GATE_INVALID", GATED, poke("synthetic_gates", GATED, 2)),
        ("SIGNTEST_UNMAPPED_ATOM", "X:Z", stranger),
        ("SIGNTEST_UNMAPPED_ATOM", SHORT, without("synthetic_returns", SHORT)),
        ("SIGNTEST_MISSING_PHYSICAL_COL", SHORT, without("returns_matrix", "X:D")),
        ("SIGNTEST_EMPTY_RAW", None, lambda f: {"returns_matrix": f["returns_matrix"].clear()}),
        ("SIGNTEST_EMPTY_SYNTHETIC", None, lambda f: {"synthetic_returns": f["synthetic_returns"].clear()}),
        ("SIGNTEST_WINNER_SET", None, lambda f: {"portfolio_candidates": NO_WINNERS}),
        ("SIGNTEST_WINNER_SET", None, lambda f: {"portfolio_candidates": None}),
        ("SIGNTEST_NO_EVIDENCE", SHORT, flat),
    ],
)
def test_a_corruption_fires_its_code_alone_and_names_its_atom(code, named, change):
    found = run(**change(good())).findings
    assert [(f.level, f.code, f.symbol) for f in found] == [("ERROR", code, named)]
    assert exit_of(code) == 1


def test_a_run_without_atoms_has_examined_nothing():
    judged = run(**no_atoms(good()))
    assert {f.code for f in judged.findings} == {"SIGNTEST_EMPTY_SYNTHETIC", "SIGNTEST_NO_ATOMS"}
    assert exit_of("SIGNTEST_NO_ATOMS") == 1
    assert not any(judged.checked.values())


def test_each_atom_against_the_intent_of_the_sleeve_is_named():
    found = run(direction="SHORT").findings
    assert [(f.level, f.code, f.symbol) for f in found] == [
        ("ERROR", "SIGNTEST_INTENT_MISMATCH", LONG),
        ("ERROR", "SIGNTEST_INTENT_MISMATCH", GATED),
    ]
    assert exit_of("SIGNTEST_INTENT_MISMATCH") == 1


def solver(**changes):
    body = good()["portfolio_optimized_v2"]
    body["profiles"]["hrp"]["assets"][3] |= changes
    return body


@pytest.mark.parametrize(
    ("code", "optimizer"),
    [
        ("SIGNTEST_MISSING_OPTIMIZER", None),
        ("SIGNTEST_OPTIMIZER_PARSE", {"space": "synthetic"}),
        ("SIGNTEST_SPACE_TAG", solver() | {"space": "physical"}),
        ("SIGNTEST_OPTIMIZER_UNKNOWN_ATOM", solver(Symbol="X:Q")),
        ("SIGNTEST_OPTIMIZER_NOT_NORMALIZED", solver(Direction="SHORT")),
        ("SIGNTEST_OPTIMIZER_NOT_NORMALIZED", solver(Net_Weight=-0.2)),
        ("SIGNTEST_PROFILE_UNCHECKED", {"space": "synthetic", "profiles": {"x": {"assets": []}}}),
    ],
)
def test_a_wrong_weight_file_fires_its_code_alone(code, optimizer):
    assert codes(run(portfolio_optimized_v2=optimizer, post=True)) == [code]


def test_an_empty_risk_profile_with_a_typed_status_is_examined():
    profile = {"status": "SKIPPED", "reason": "BENCHMARK_MISSING", "assets": []}
    body = {"space": "synthetic", "profiles": {"benchmark": profile}}
    assert codes(run(portfolio_optimized_v2=body, post=True)) == []
