"""Gate G7: streams within bounds, gates of 0 and 1, columns one-to-one with the atom table."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from quantctl.contracts.stage import Loaded
from quantctl.steps.l3_synthesis.gates import l3

LONG, SHORT, GATED = "X:A_1.P_rating_all_LONG", "X:A_1.P_rating_all_SHORT", "X:B_trend_LONG"
ROWS = 40


def frames():
    dates = pl.Series("date", [date(2025, 1, 1) + timedelta(i) for i in range(ROWS)])
    dates = dates.cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    values = [0.01 * (-1) ** i for i in range(ROWS)]
    gate = [1] * ROWS
    return {
        "synthetic_returns": pl.DataFrame(
            {"date": dates, LONG: values, SHORT: [-v for v in values], GATED: values}
        ),
        "synthetic_gates": pl.DataFrame(
            {"date": dates, LONG: gate, SHORT: gate, GATED: gate},
            schema_overrides=dict.fromkeys((LONG, SHORT, GATED), pl.Int8),
        ),
        "atoms": pl.DataFrame({"atom": [LONG, SHORT, GATED], "direction": ["LONG", "SHORT", "LONG"]}),
    }


def judged(**changed):
    found = frames() | changed
    return l3(**{
        name: Loaded(name, f"data/{name}.parquet", value, problem=None if value is not None else "missing")
        for name, value in found.items()
    })  # fmt: skip


def facts(judgement):
    return [(f.level, f.code, f.symbol) for f in judgement.findings]


def put(name, atom, value, row=3):
    frame = frames()[name].cast({atom: pl.Float64})
    return {name: frame.with_columns(frame[atom].scatter(row, value))}


def test_a_sound_synthesis_passes_and_says_what_was_examined():
    judgement = judged()
    assert judgement.findings == []
    assert judgement.checked == {"atoms": 3, "rows": ROWS}


@pytest.mark.parametrize(
    ("atom", "value"),
    [
        (LONG, 5.0001), (LONG, -1.0001), (LONG, float("nan")), (LONG, float("inf")), (LONG, None),
        (SHORT, 1.0001), (SHORT, -1.0001), (GATED, 6.0),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_an_error_of_its_atom(atom, value):
    assert facts(judged(**put("synthetic_returns", atom, value))) == [("ERROR", "L3_RANGE", atom)]


@pytest.mark.parametrize(("atom", "value"), [(LONG, 5.0), (LONG, -1.0), (SHORT, 1.0), (SHORT, -1.0)])
def test_the_bounds_themselves_are_allowed(atom, value):
    assert facts(judged(**put("synthetic_returns", atom, value))) == []


@pytest.mark.parametrize("value", [2.0, -1.0, 0.5, None])
def test_a_gate_is_zero_or_one(value):
    assert facts(judged(**put("synthetic_gates", GATED, value))) == [("ERROR", "L3_GATE_RANGE", GATED)]


@pytest.mark.parametrize("name", ["synthetic_returns", "synthetic_gates"])
def test_a_missing_column_is_named(name):
    assert facts(judged(**{name: frames()[name].drop(SHORT)})) == [("ERROR", "L3_ATOM_TABLE", SHORT)]


@pytest.mark.parametrize("name", ["synthetic_returns", "synthetic_gates"])
def test_a_column_without_an_atom_is_named(name):
    wider = frames()[name].with_columns(pl.col(LONG).alias("X:Z_trend_LONG"))
    assert facts(judged(**{name: wider})) == [("ERROR", "L3_ATOM_TABLE", "X:Z_trend_LONG")]


def test_an_atom_more_than_columns_is_named_in_both_files():
    more = pl.concat([frames()["atoms"], pl.DataFrame({"atom": ["X:Z"], "direction": ["LONG"]})])
    assert facts(judged(atoms=more)) == [("ERROR", "L3_ATOM_TABLE", "X:Z")] * 2


@pytest.mark.parametrize("active", [0, 1])
def test_an_atom_that_is_hardly_ever_active_is_dormant(active):
    gate = pl.Series(GATED, [1] * active + [0] * (ROWS - active), dtype=pl.Int8)
    judgement = judged(synthetic_gates=frames()["synthetic_gates"].with_columns(gate))
    assert facts(judgement) == [("WARN", "L3_DORMANT", GATED)]


def test_one_bar_in_twenty_is_enough():
    gate = pl.Series(GATED, [1, 1] + [0] * (ROWS - 2), dtype=pl.Int8)
    assert facts(judged(synthetic_gates=frames()["synthetic_gates"].with_columns(gate))) == []


def test_no_atom_ever_active_is_an_error():
    off = frames()["synthetic_gates"].with_columns(pl.lit(0, pl.Int8).alias(n) for n in (LONG, SHORT, GATED))
    assert facts(judged(synthetic_gates=off)) == [("ERROR", "L3_ALL_DORMANT", None)]


@pytest.mark.parametrize("name", ["synthetic_returns", "synthetic_gates", "atoms"])
def test_an_unreadable_input_is_an_error_of_the_gate(name):
    judgement = judged(**{name: None})
    assert facts(judgement) == [("ERROR", "L3_PARSE", None)]
    assert judgement.checked == {"atoms": 0, "rows": 0}


@pytest.mark.parametrize("name", ["synthetic_returns", "atoms"])
def test_a_gate_with_nothing_to_examine_counts_nothing(name):
    judgement = judged(**{name: frames()[name].head(0)})
    assert judgement.checked == {"atoms": 0, "rows": 0}


def test_the_order_of_atoms_and_columns_changes_nothing():
    turned = {
        name: frame.select("date", GATED, SHORT, LONG) for name, frame in frames().items() if name != "atoms"
    }
    assert judged(**turned, atoms=frames()["atoms"].reverse()).findings == []
