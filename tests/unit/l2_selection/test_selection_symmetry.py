"""What must not change the winners: order of rows, run id, unrelated columns; and what mirrors them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantctl.contracts.canonical import canonical
from quantctl.steps.l2_selection.filters.veto import veto_class


@pytest.mark.parametrize("legs", ["LONG", "SHORT", "MIXED"])
def test_shuffled_inputs_give_byte_equal_audits(selection: SimpleNamespace, legs: str) -> None:
    world = selection.make(40, legs)
    audits = [
        canonical(selection.run(replace(world, shuffle=seed)).audit.model_dump(mode="json", by_alias=True))
        for seed in (None, 1, 2, 3)
    ]
    assert len(set(audits)) == 1


def test_audits_of_two_runs_differ_by_their_ids_alone(selection: SimpleNamespace) -> None:
    world = selection.make(30)
    first, second = (selection.run(world, run_id).audit.model_dump() for run_id in ("r1", "r2"))
    assert first != second
    for audit in (first, second):
        del audit["run_id"], audit["trace_id"]
    assert first == second


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_turning_returns_and_directions_mirrors_the_winners(selection: SimpleNamespace, seed: int) -> None:
    world = selection.make(24, "LONG", seed).with_settings("features", feat_short_direction=True)
    there, back = selection.run(world), selection.run(world.mirrored())
    assert {w.symbol: w.rank for w in there.winners.winners} == {
        w.symbol: w.rank for w in back.winners.winners
    }
    assert {w.direction for w in back.winners.winners} == {"SHORT"}


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    column=st.sampled_from(
        ["entropy", "efficiency", "hurst", "regime_survival", "momentum", "kurtosis", "volume_z"]
    ),
    share=st.floats(0.1, 1.0),
    value=st.sampled_from([0.0, 0.05, 0.5, 0.97, 1.0, None]),
)
def test_no_hard_or_strategy_code_ever_stands_on_a_winner(
    selection: SimpleNamespace, seed: int, column: str, share: float, value: float | None
) -> None:
    world = selection.make(30, "MIXED", seed)
    values = world.store[column].to_list()
    spoilt = world.with_column(column, [value if i < share * 30 else x for i, x in enumerate(values)])
    result = selection.run(spoilt)
    assert all(veto_class(code) == "SOFT" for winner in result.winners.winners for code in winner.waived)
    assert not result.atoms & set(result.audit.vetoes)
    assert len(result.atoms) + len(result.audit.vetoes) == 30
    assert all(rows for rows in result.audit.vetoes.values())


@pytest.mark.parametrize("legs", ["LONG", "SHORT"])
def test_worse_liquidity_never_helps(selection: SimpleNamespace, legs: str) -> None:
    world = selection.make(20, legs)
    frame = selection.run(world).scores
    for row in (0, 7, 19):
        turnover = world.store["adv_30"].to_list()
        turnover[row] = 2e6
        worse = selection.run(world.with_column("adv_30", turnover)).scores
        assert worse["alpha_score"][row] < frame["alpha_score"][row]
        others = [i for i in range(20) if i != row]
        assert worse["alpha_score"][others].equals(frame["alpha_score"][others])


def test_the_more_negative_rating_wins_a_short_at_equal_quality(selection: SimpleNamespace) -> None:
    world = selection.make(20, "SHORT")
    for name in world.store.columns[4:]:
        world = world.with_column(name, [float(world.store[name][0])] * 20)
    world = world.with_column("recommend_all", [-0.02 * i for i in range(20)])
    scores = selection.run(world).scores["alpha_score"].to_list()
    assert scores == sorted(scores)
    assert scores[0] < scores[-1]


def test_an_outlier_moves_no_other_candidate_of_a_ranked_metric(selection: SimpleNamespace) -> None:
    world = selection.make(20)
    values = world.store["momentum"].to_list()
    best = values.index(max(values))
    values[best] = 1e6
    before, after = selection.run(world).scores, selection.run(world.with_column("momentum", values)).scores
    assert before["alpha_score"].equals(after["alpha_score"])
