"""The order of candidates within a leg."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.settings.ranking import RankingSettings
from quantctl.steps.l2_selection.candidates import Candidates
from quantctl.steps.l2_selection.ranking import percentile_excluded, rank_candidates


def candidates_of(selection: SimpleNamespace, legs: str = "LONG", count: int = 6) -> Candidates:
    return Candidates.of(selection.run(selection.make(count, legs)).features)


def test_ties_break_by_turnover_then_atom(selection: SimpleNamespace) -> None:
    candidates = candidates_of(selection)
    frame = candidates.frame.with_columns(adv_30=np.array([1.0, 3.0, 3.0, 2.0, 1.0, 5.0]))
    scores = np.array([0.5, 0.5, 0.5 + 1e-15, 0.5, np.nan, 0.1])
    ranking = rank_candidates(Candidates(frame), scores, RankingSettings())
    assert ranking.rank.tolist() == [4, 1, 2, 3, 6, 5]
    assert ranking.order == (1, 2, 3, 0, 5, 4)


def test_each_leg_has_its_own_ranks_and_neither_crowds_the_other_out(selection: SimpleNamespace) -> None:
    candidates = candidates_of(selection, "MIXED")
    scores = np.where(candidates.sign > 0, 0.9, 0.1) + np.arange(6) * 1e-3
    ranking = rank_candidates(candidates, scores, RankingSettings())
    assert (
        sorted(ranking.rank[candidates.leg("LONG")])
        == sorted(ranking.rank[candidates.leg("SHORT")])
        == [1, 2, 3]
    )
    assert [ranking.rank[row] for row in ranking.order] == [1, 1, 2, 2, 3, 3]
    assert percentile_excluded(candidates, ranking.order, 0.5) == [
        row for leg in ("LONG", "SHORT") for row in ranking.order
        if candidates.text("direction")[row] == leg and ranking.rank[row] > 1
    ]  # fmt: skip


def test_the_signal_of_a_short_is_ranked_from_the_most_negative(selection: SimpleNamespace) -> None:
    candidates = candidates_of(selection, "SHORT")
    ranking = rank_candidates(
        candidates, np.zeros(6), RankingSettings(method="signal", direction="ascending")
    )
    unadjusted = -candidates.number("recommend_all")
    assert list(ranking.order) == np.argsort(unadjusted).tolist()


@pytest.mark.parametrize(
    ("legs", "order"), [("LONG", "ascending"), ("SHORT", "descending"), ("MIXED", "ascending")]
)
def test_an_order_against_the_leg_is_refused(selection: SimpleNamespace, legs: str, order: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rank_candidates(
            candidates_of(selection, legs), np.zeros(6), RankingSettings.model_validate({"direction": order})
        )
    assert (caught.value.code, caught.value.exit_code) == ("RANK_DIRECTION_MISMATCH", 2)


@pytest.mark.parametrize("name", ["recomend_all", "symbol", "n_obs_120"])
def test_only_a_number_column_can_be_a_signal(selection: SimpleNamespace, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rank_candidates(candidates_of(selection), np.zeros(6), RankingSettings(method="signal", signal=name))
    assert (caught.value.code, caught.value.exit_code) == ("SIGNAL_UNKNOWN", 2)
