"""Streams, gates and atoms: direction is applied once, gates look back only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.errors import QuantError
from quantctl.contracts.frames.synthesis import Atoms, Gates, Streams
from quantctl.contracts.settings.synthesis import SynthesisSettings
from quantctl.steps.l3_synthesis.atoms import atom_table
from quantctl.steps.l3_synthesis.logics import gate_signal
from quantctl.steps.l3_synthesis.streams import direction_stream, direction_streams
from quantctl.steps.l3_synthesis.synthesis import SynthesisParams, synthesise

GATED = ("momentum", "trend", "reversion")


def winner(symbol: str, logic: str, direction: str):
    return SimpleNamespace(
        symbol=symbol, logic=logic, direction=direction, cluster="1", alpha_score=0.5, stage_admitted=1
    )


def matrix(returns: dict[str, np.ndarray]) -> pl.DataFrame:
    rows = len(next(iter(returns.values())))
    start = datetime(2024, 1, 1, tzinfo=UTC)
    dates = pl.Series("date", [start + timedelta(days=k) for k in range(rows)]).cast(pl.Datetime("ns", "UTC"))
    return pl.DataFrame({"date": dates, **returns})


def synthesised(winners, frame: pl.DataFrame, **settings):
    report = SimpleNamespace(column_roles={name: ["pool"] for name in frame.columns[1:]})
    params = SynthesisParams(synthesis=SynthesisSettings(**settings))
    return synthesise(SimpleNamespace(winners=winners), frame, report, params)


def test_short_stream_is_capped_at_minus_one():
    assert direction_stream(np.array([2.0, 0.5, -0.25]), "SHORT").tolist() == [-1.0, -0.5, 0.25]
    assert direction_stream(np.array([2.0, -0.25]), "LONG").tolist() == [2.0, -0.25]


def test_columns_get_their_own_direction():
    found = direction_streams(np.array([[2.0, 2.0], [-0.5, -0.5]]), ["LONG", "SHORT"])
    assert found.tolist() == [[2.0, -1.0], [-0.5, 0.5]]


def test_an_unknown_direction_is_refused():
    with pytest.raises(QuantError) as caught:
        direction_stream(np.zeros(2), "FLAT")
    assert caught.value.code == "DIRECTION_UNKNOWN"


@pytest.mark.parametrize("logic", GATED)
def test_a_gate_does_not_move_when_later_bars_change(logic):
    stream = np.random.default_rng(3).normal(0, 0.02, 300)
    whole = gate_signal(stream, logic, 20)
    for cut in (20, 21, 150, 299):
        assert np.array_equal(gate_signal(stream[:cut], logic, 20), whole[: cut + 1])


@pytest.mark.parametrize("logic", GATED)
def test_the_first_window_has_no_gate(logic):
    gates = gate_signal(np.full(30, 0.01), logic, 20)
    assert (gates[:20] == -1).all()
    assert set(gates[20:].tolist()) <= {0, 1}


@pytest.mark.parametrize("logic", GATED)
def test_an_exact_tie_is_flat(logic):
    assert not gate_signal(np.zeros(40), logic, 20)[20:].any()


@pytest.mark.parametrize("logic", GATED)
def test_a_ruined_stream_stays_flat(logic):
    stream = np.r_[np.full(30, 0.01), -1.0, np.full(60, 0.01)]
    assert not gate_signal(stream, logic, 20)[31:].any()


def test_in_a_falling_market_short_trend_gains_and_long_trend_is_flat():
    frame = matrix({"X:A": np.full(120, -0.01)})
    winners = [winner("X:A", logic, d) for logic in ("trend", "momentum") for d in ("LONG", "SHORT")]
    streams = synthesised(winners, frame).outputs["synthetic_returns"]
    for logic in ("trend", "momentum"):
        assert (streams[f"X:A_{logic}_LONG"] == 0.0).all()
        assert (streams[f"X:A_{logic}_SHORT"] == 0.01).all()


def test_trend_gates_of_both_directions_are_never_both_open():
    frame = matrix({"X:A": np.random.default_rng(1).normal(0, 0.05, 400)})
    gates = synthesised([winner("X:A", "trend", d) for d in ("LONG", "SHORT")], frame).outputs[
        "synthetic_gates"
    ]
    assert int((gates["X:A_trend_LONG"] + gates["X:A_trend_SHORT"]).max()) <= 1


def test_pass_through_long_and_short_cancel_on_uncapped_days_and_a_doubling_costs_all():
    raw = np.random.default_rng(2).normal(0, 0.05, 50)
    raw[7] = 1.7
    frame = matrix({"X:A": raw})
    outcome = synthesised([winner("X:A", "rating_all", d) for d in ("LONG", "SHORT")], frame)
    total = outcome.outputs["synthetic_returns"].select(pl.sum_horizontal(pl.exclude("date"))).to_series()
    assert total[7] == pytest.approx(0.7)
    assert all(total[k] == 0.0 for k in range(50) if k != 7)
    assert outcome.outputs["synthetic_returns"]["X:A_rating_all_SHORT"][7] == -1.0
    assert [f.code for f in outcome.findings] == ["STREAM_RUINED"]


def test_outputs_keep_their_contracts_and_do_not_depend_on_the_order_of_winners():
    rng = np.random.default_rng(5)
    frame = matrix({f"X:{name}": rng.normal(0, 0.02, 80) for name in "CAB"})
    winners = [winner("X:C", "momentum", "LONG"), winner("X:A", "rating_ma", "SHORT"),
               winner("X:B", "rating_all", "LONG")]  # fmt: skip
    first, second = synthesised(winners, frame).outputs, synthesised(winners[::-1], frame).outputs
    for name, contract in (("synthetic_returns", Streams), ("synthetic_gates", Gates), ("atoms", Atoms)):
        contract.validate(first[name])
        assert first[name].equals(second[name])
    assert first["synthetic_returns"].height == 60
    assert first["atoms"]["warmup_bars"].to_list() == [0, 0, 20]


def test_the_deploy_gate_is_that_of_the_next_bar():
    stream = np.r_[np.full(40, 0.01), np.full(1, -0.9)]
    table = synthesised([winner("X:A", "trend", "LONG")], matrix({"X:A": stream})).outputs
    assert table["synthetic_gates"]["X:A_trend_LONG"][-1] == 1
    assert table["atoms"]["deploy_gate"].to_list() == [0]


def test_rows_dropped_for_warm_up_are_told_and_counted():
    rng = np.random.default_rng(6)
    frame = matrix({"X:A": rng.normal(0, 0.02, 80), "X:B": rng.normal(0, 0.02, 80)})
    winners = [winner("X:A", "momentum", "LONG"), winner("X:B", "reversion", "SHORT")]
    outcome = synthesised(winners, frame, momentum_window=10, reversion_window=30)
    told = [(f.level, f.code, f.details) for f in outcome.findings]
    assert told == [("INFO", "SYNTHESIS_WARMUP", {"dropped_rows": 30})]
    assert outcome.outputs["synthetic_returns"]["date"].equals(frame["date"].slice(30))
    assert (outcome.metrics["rows"], outcome.metrics["dropped_rows"]) == (50, 30)


def test_without_a_gate_no_row_is_dropped():
    frame = matrix({"X:A": np.random.default_rng(6).normal(0, 0.02, 80)})
    outcome = synthesised([winner("X:A", "rating_all", "LONG")], frame)
    assert outcome.findings == []
    assert outcome.outputs["synthetic_returns"].height == 80


def test_underscores_in_symbols_and_logics_stay_whole():
    frame = matrix({"X:A_B.P": np.full(30, 0.01)})
    atoms = synthesised([winner("X:A_B.P", "vol_breakout", "SHORT")], frame).outputs["atoms"]
    assert atoms.select("symbol", "logic", "family").row(0) == ("X:A_B.P", "vol_breakout", "breakout")


@pytest.mark.parametrize(
    ("winners", "code"),
    [
        ([winner("X:A", "rating_all", "LONG")] * 2, "ATOM_DUPLICATE"),
        ([winner("X:A", "hunch", "LONG")], "LOGIC_UNKNOWN"),
        ([winner("X:Z", "rating_all", "LONG")], "SYNTHESIS_SYMBOL_MISSING"),
        ([winner("X:A", "trend", "LONG")], "SYNTHESIS_TOO_SHORT"),
        ([], "SELECTION_EMPTY"),
    ],
)
def test_what_cannot_become_a_stream_is_refused(winners, code):
    with pytest.raises(QuantError) as caught:
        synthesised(winners, matrix({"X:A": np.full(20, 0.01)}))
    assert caught.value.code == code


def test_composites_are_refused():
    composites = [{"name": "c", "kind": "ensemble", "members": ["a"]}]
    with pytest.raises(QuantError) as caught:
        synthesised([winner("X:A", "rating_all", "LONG")], matrix({"X:A": np.ones(3)}), composites=composites)
    assert (caught.value.code, caught.value.exit_code) == ("COMPOSITE_UNAVAILABLE", 2)


def test_an_ungated_atom_needs_no_deploy_gate():
    table = atom_table([winner("X:A", "rating_all", "SHORT")], {}, SynthesisSettings())
    assert table.select("factor", "deploy_gate", "gated").row(0) == (-1, 1, False)
