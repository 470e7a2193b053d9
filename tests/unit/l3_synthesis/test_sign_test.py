"""The sign test: each corruption fires exactly its code."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

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


def corruptions():
    f = good()
    syn, raw, gates, atoms = (
        f[k] for k in ("synthetic_returns", "returns_matrix", "synthetic_gates", "atoms")
    )
    moved = syn.with_columns(
        pl.when(pl.int_range(pl.len()) == 50)
        .then(pl.col("date") + timedelta(hours=1)).otherwise(pl.col("date")).alias("date")
    )  # fmt: skip
    yield "SIGNTEST_MISSING_SYNTHETIC", {"synthetic_returns": None}
    yield "SIGNTEST_MISSING_RAW", {"returns_matrix": None}
    yield "SIGNTEST_MISSING_ATOMS", {"atoms": None}
    yield "SIGNTEST_MISSING_GATES", {"synthetic_gates": None}
    yield "SIGNTEST_MISSING_GATES", {"synthetic_gates": gates.drop(SHORT)}
    yield "SIGNTEST_LONG_MISMATCH", {"synthetic_returns": poked(syn, LONG, lambda x: -x)}
    yield "SIGNTEST_SHORT_NOT_INVERTED", {"synthetic_returns": poked(syn, SHORT, lambda x: -x)}
    yield (
        "SIGNTEST_SHORT_NOT_INVERTED",
        {"synthetic_returns": poked(syn, SHORT, lambda x: np.nextafter(x, 9))},
    )
    yield "SIGNTEST_NAN_MASK", {"synthetic_returns": poked(syn, LONG, float("nan"))}
    yield "SIGNTEST_INDEX_MISMATCH", {"synthetic_returns": moved}
    yield "SIGNTEST_INDEX_MISMATCH", {"synthetic_gates": gates.slice(1)}
    yield "SIGNTEST_INDEX_MISMATCH", {"returns_matrix": raw.slice(1)}
    yield "SIGNTEST_GATE_INVALID", {"synthetic_gates": poked(gates, GATED, lambda g: 1 - g)}
    yield "SIGNTEST_GATE_INVALID", {"synthetic_gates": poked(gates, LONG, 0)}
    yield "SIGNTEST_GATE_INVALID", {"synthetic_gates": poked(gates, GATED, 2)}
    yield "SIGNTEST_UNMAPPED_ATOM", {"synthetic_returns": syn.with_columns(syn[LONG].alias("X:Z"))}
    yield "SIGNTEST_UNMAPPED_ATOM", {"synthetic_returns": syn.drop(SHORT)}
    yield "SIGNTEST_MISSING_PHYSICAL_COL", {"returns_matrix": raw.drop("X:D")}
    yield "SIGNTEST_EMPTY_SYNTHETIC", {"synthetic_returns": syn.clear()}
    yield "SIGNTEST_EMPTY_RAW", {"returns_matrix": raw.clear()}
    yield "SIGNTEST_WINNER_SET", {"portfolio_candidates": SimpleNamespace(winners=[])}
    yield "SIGNTEST_WINNER_SET", {"portfolio_candidates": None}
    yield "SIGNTEST_INTENT_MISMATCH", {"direction": "SHORT"}
    yield "SIGNTEST_NO_ATOMS", {"atoms": atoms.clear(), "synthetic_returns": syn.select("date"),
                                "synthetic_gates": gates.select("date"),
                                "portfolio_candidates": SimpleNamespace(winners=[])}  # fmt: skip
    flat = {"returns_matrix": raw.with_columns(pl.lit(0.0).alias("X:D")),
            "synthetic_returns": syn.with_columns(pl.lit(0.0).alias(SHORT))}  # fmt: skip
    yield "SIGNTEST_NO_EVIDENCE", flat


@pytest.mark.parametrize(("code", "changed"), list(corruptions()))
def test_a_corruption_fires_its_code_alone(code, changed):
    found = codes(run(**changed))
    assert [c for c in found if c != "SIGNTEST_EMPTY_SYNTHETIC" or code == c] == [code]


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
