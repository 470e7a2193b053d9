"""Which candidates win: filters, percentile cut, ladder, cap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quantctl.contracts.errors import ContractError
from quantctl.contracts.records.selection import Winner
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.htr import HtrSettings
from quantctl.contracts.settings.ranking import RankingSettings
from quantctl.contracts.settings.selection import SelectionSettings
from quantctl.contracts.stage import Finding, StageParams
from quantctl.steps.l2_selection.candidates import Candidates
from quantctl.steps.l2_selection.filters.chain import (
    RELAXED,
    STRICT,
    Filtered,
    filter_candidates,
    is_hardened,
)
from quantctl.steps.l2_selection.filters.veto import Veto
from quantctl.steps.l2_selection.ladder import (
    Admission,
    Field,
    Member,
    Rung,
    climb,
    recruits_per_leg,
    scarcity_level,
)
from quantctl.steps.l2_selection.ranking import Ranking, percentile_excluded, rank_candidates

if TYPE_CHECKING:
    from quantctl.contracts.records.clusters import SelectionClusters


class PolicyParams(StageParams):
    """Settings that the decision reads."""

    features: FeaturesSettings
    selection: SelectionSettings
    htr: HtrSettings
    ranking: RankingSettings


@dataclass(frozen=True)
class Decision:
    """What was decided, before it is written down.

    winners : sorted by atom
    rungs : rungs in the order tried, winners before the cap; the last one is the result
    filtered : every veto of the filters and of the percentile cut
    capped : atoms that the winner cap left out
    ranks : atom -> rank within its leg, 1..
    warnings : what a reader of the result must know
    """

    winners: list[Winner]
    rungs: list[Rung]
    filtered: Filtered
    capped: frozenset[str]
    ranks: Mapping[str, int]
    warnings: list[Finding]


def choose(
    features: pl.DataFrame, scores: pl.DataFrame, clusters: SelectionClusters, params: PolicyParams
) -> Decision:
    """The decision on the feature frame, its scores (rows in any order) and the clusters of symbols.

    Raises `SCORES_MISMATCH` and `CLUSTER_MISSING` (exit 1) where the three do not cover the same candidates.
    """
    candidates, scores = Candidates.of(features), scores.sort("atom")
    if scores.get_column("atom").to_list() != candidates.atoms:
        raise ContractError(
            "SCORES_MISMATCH", "scores and features name different atoms", where="selection_scores"
        )
    rank_score = _numbers(scores, "rank_score")
    ranking = rank_candidates(candidates, rank_score, params.ranking)
    neutral = (_numbers(scores, "n_neutral"), _numbers(scores, "n_scored"))
    filtered = filter_candidates(candidates, neutral, params.features, params.selection, params.htr)
    filtered, warnings = cut_by_rank(candidates, ranking, filtered, params)
    cluster_of = clusters_of(candidates, clusters)
    choice = field_of(candidates, ranking, filtered, cluster_of, clusters, params)
    rungs = climb(choice, params.htr.relaxation_stage)
    ordered = [candidates.atoms[row] for row in ranking.order]
    admitted = [atom for atom in ordered if atom in rungs[-1].winners]
    kept = choice.capped(rungs[-1].winners, params.selection.max_winners)
    ranks = dict(zip(candidates.atoms, ranking.rank.tolist(), strict=True))
    winners = winners_of(candidates, scores, ranking, cluster_of, filtered, rungs[-1], kept)
    warnings += _hardening(candidates, params.htr) + result_warnings(rungs[-1], winners, admitted, params)
    return Decision(winners, rungs, filtered, frozenset(admitted) - kept, ranks, warnings)


def cut_by_rank(
    candidates: Candidates, ranking: Ranking, filtered: Filtered, params: PolicyParams
) -> tuple[Filtered, list[Finding]]:
    """The filters' vetoes plus `PERCENTILE_EXCLUDED` for atoms beyond the configured share of their leg."""
    share = params.selection.percentile
    if share is None:
        return filtered, []
    barred, atoms = filtered.barred(), candidates.atoms
    free = [row for row in ranking.order if atoms[row] not in barred]
    excluded = percentile_excluded(candidates, free, share)
    vetoes = [
        Veto(atoms[row], "PERCENTILE_EXCLUDED", float(ranking.rank[row]), share, "percentile")
        for row in excluded
    ]
    kept = len(free) - len(excluded)
    warnings = []
    if kept < params.htr.floor:
        message = f"the percentile cut leaves {kept} candidates, fewer than {params.htr.floor}"
        details = {"kept": kept, "floor": params.htr.floor, "percentile": share}
        warnings = [Finding(level="WARN", code="PERCENTILE_BELOW_FLOOR", message=message, details=details)]
    return Filtered((*filtered.fixed, *vetoes), filtered.graded, filtered.thresholds), warnings


def clusters_of(candidates: Candidates, clusters: SelectionClusters) -> list[str]:
    """Cluster id of each candidate's symbol, in atom order."""
    labels = clusters.labels()
    missing = sorted(set(candidates.text("symbol")) - set(labels))
    if missing:
        raise ContractError(
            "CLUSTER_MISSING", f"{missing[0]} stands in no cluster", where=f"selection_clusters:{missing[0]}",
            details={"symbols": missing[:10]},
        )  # fmt: skip
    return [labels[symbol] for symbol in candidates.text("symbol")]


def field_of(
    candidates: Candidates,
    ranking: Ranking,
    filtered: Filtered,
    cluster_of: list[str],
    clusters: SelectionClusters,
    params: PolicyParams,
) -> Field:
    """What the ladder chooses from; the quota counts recruits per cluster and leg."""
    selection, directions = params.selection, candidates.text("direction")
    quota = {
        name: recruits_per_leg(selection.top_n, cluster.mean_rho, dynamic=selection.dynamic_sizing)
        for name, cluster in clusters.clusters.items()
    }
    return Field(
        members=[Member(candidates.atoms[row], cluster_of[row], directions[row]) for row in ranking.order],
        barred=filtered.barred(),
        soft={rung: filtered.soft(rung) for rung in (STRICT, RELAXED)},
        quota=quota,
        floor=params.htr.floor,
        top_n=selection.top_n,
        leg_floor=params.htr.leg_floor,
    )


def winners_of(
    candidates: Candidates,
    scores: pl.DataFrame,
    ranking: Ranking,
    cluster_of: list[str],
    filtered: Filtered,
    rung: Rung,
    kept: frozenset[str],
) -> list[Winner]:
    """The records of the atoms in `kept`, by atom; `waived` names their soft vetoes of the strict rung."""
    rows = candidates.frame.with_columns(
        scores.get_column("alpha_score"), cluster=pl.Series(cluster_of, dtype=pl.String),
        score=pl.Series(ranking.score), rank=pl.Series(ranking.rank),
    ).filter(pl.col("atom").is_in(sorted(kept)))  # fmt: skip
    strict = filtered.vetoes(STRICT)
    return [_winner(row, rung.winners[row["atom"]], strict.get(row["atom"], [])) for row in rows.to_dicts()]


def _winner(row: Mapping[str, object], admission: Admission, relaxed: list[Veto]) -> Winner:
    names = ("atom", "symbol", "logic", "direction", "cluster", "alpha_score", "rank", "base_identity",
             "exchange", "asset_type")  # fmt: skip
    score = row["score"]
    return Winner.model_validate({
        **{name: row[name] for name in names},
        "rank_score": score if score == score else None,
        "stage_admitted": admission.rung,
        "note": admission.note,
        "adv": row["adv_30"],
        "waived": [veto.code for veto in relaxed],
    })  # fmt: skip


def result_warnings(
    rung: Rung, winners: list[Winner], admitted: list[str], params: PolicyParams
) -> list[Finding]:
    """`CLUSTER_LIMIT_WAIVED`, `WINNER_CAP` and `SCARCITY` of the last rung."""
    found = []
    if rung.waived:
        message = "the cluster limit was waived to reach the winner floor"
        found.append(Finding(level="INFO", code="CLUSTER_LIMIT_WAIVED", message=message))
    if len(admitted) > len(winners):
        message = f"{len(admitted)} candidates were recruited, the best {len(winners)} kept"
        details = {"recruited": len(admitted), "kept": len(winners)}
        found.append(Finding(level="INFO", code="WINNER_CAP", message=message, details=details))
    level = scarcity_level(len(winners), params.htr.floor)
    if level:
        message = f"{len(winners)} winners, fewer than {params.htr.floor}: {level}"
        scarce = {"n": len(winners), "floor": params.htr.floor, "level": level}
        found.append(Finding(level="WARN", code="SCARCITY", message=message, details=scarce))
    return found


def _hardening(candidates: Candidates, htr: HtrSettings) -> list[Finding]:
    if not is_hardened(candidates, htr):
        return []
    message = "the cross-section is noisy: the entropy threshold is multiplied by 0.9"
    return [Finding(level="INFO", code="ENTROPY_HARDENED", message=message)]


def _numbers(frame: pl.DataFrame, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return frame.get_column(name).cast(pl.Float64).to_numpy().astype(np.float64)
