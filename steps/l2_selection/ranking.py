"""The order of candidates within each leg: score descending, then turnover descending, then atom id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.nearest import did_you_mean
from quantctl.contracts.settings.ranking import RankingSettings
from quantctl.steps.l2_selection.candidates import LEGS, Candidates

Array = NDArray[np.float64]
OWN_SIGNAL = {"rating_all": "recommend_all", "rating_ma": "recommend_ma", "rating_osc": "recommend_other"}
TREND_SIGNAL = "recommend_ma"
LEG_ORDER = {"LONG": "descending", "SHORT": "ascending"}


@dataclass(frozen=True)
class Ranking:
    """score : (N,) in atom order, NaN last; rank : (N,) position 1.. within the leg; order : row numbers
    over both legs, by rank, then score, turnover and atom, so that neither leg crowds the other out."""

    score: Array
    rank: NDArray[np.int_]
    order: tuple[int, ...]


def rank_candidates(candidates: Candidates, rank_score: Array, settings: RankingSettings) -> Ranking:
    """Rank by `settings.method`; scores are direction-adjusted, so both legs sort descending.

    Raises `RANK_DIRECTION_MISMATCH` and `SIGNAL_UNKNOWN` (exit 2).
    """
    _check_direction(candidates, settings.direction)
    values = rank_score if settings.method == "mps" else signal_of(candidates, settings.signal)
    turnover = _known(candidates.number("adv_30"))
    keys = [
        (-_rounded(value), -liquidity, atom)
        for value, liquidity, atom in zip(values, turnover, candidates.atoms, strict=True)
    ]
    ranks = np.zeros(len(candidates), dtype=int)
    for direction in LEGS:
        rows = sorted(candidates.leg(direction).tolist(), key=lambda row: keys[row])
        ranks[rows] = np.arange(1, len(rows) + 1)
    order = sorted(range(len(candidates)), key=lambda row: (ranks[row], *keys[row]))
    return Ranking(values, ranks, tuple(order))


def signal_of(candidates: Candidates, name: str | None) -> Array:
    """One frame column, or, without a name, each logic's own signal."""
    if name is not None:
        if name not in candidates.frame.columns or not candidates.frame.schema[name].is_float():
            known = [column for column, dtype in candidates.frame.schema.items() if dtype.is_float()]
            raise ConfigError(
                "SIGNAL_UNKNOWN", f"the feature frame has no number {name!r}{did_you_mean(name, known)}",
                where="ranking.signal", remedy="name a number column of selection_features",
            )  # fmt: skip
        return candidates.number(name)
    own = np.array([OWN_SIGNAL.get(logic, TREND_SIGNAL) for logic in candidates.text("logic")])
    values = np.full(len(candidates), np.nan)
    for signal in sorted(set(own.tolist())):
        values[own == signal] = candidates.number(signal)[own == signal]
    return values


def percentile_excluded(candidates: Candidates, order: Sequence[int], share: float) -> list[int]:
    """Rows of `order` beyond the first max(1, floor(n · share)) of each leg."""
    directions = candidates.text("direction")
    excluded = []
    for direction in LEGS:
        rows = [row for row in order if directions[row] == direction]
        excluded += rows[max(1, int(len(rows) * share)) :]
    return excluded


def _check_direction(candidates: Candidates, order: str) -> None:
    wrong = [leg for leg in LEGS if order not in ("auto", LEG_ORDER[leg]) and len(candidates.leg(leg))]
    if wrong:
        raise ConfigError(
            "RANK_DIRECTION_MISMATCH", f"ranking.direction {order} contradicts the {wrong[0]} leg",
            where="ranking.direction", remedy=f"use auto or {LEG_ORDER[wrong[0]]}",
        )  # fmt: skip


def _rounded(value: float) -> float:
    return -np.inf if np.isnan(value) else float(f"{value:.12g}")


def _known(values: Array) -> Array:
    return np.where(np.isnan(values), -np.inf, values)
