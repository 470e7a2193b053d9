"""Scores of the candidates and the null distributions behind their thresholds."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.htr import HtrSettings
from quantctl.contracts.settings.mps import MpsSettings
from quantctl.contracts.settings.ranking import RankingSettings
from quantctl.contracts.settings.selection import SelectionSettings
from quantctl.contracts.stage import Finding, Outcome, StageParams, stage
from quantctl.steps.l2_selection.calibration import (
    HURST_TABLE,
    NullTables,
    calibration_frame,
    lengths,
    unreachable,
)  # fmt: skip
from quantctl.steps.l2_selection.candidates import LEGS, Candidates
from quantctl.steps.l2_selection.engines import engine_of, require_built, weights_of
from quantctl.steps.l2_selection.probability import average_ranks
from quantctl.steps.l2_selection.scoring import Scored, score

Array = NDArray[np.float64]
COLLINEAR = 0.95
COLLINEAR_ROWS = 10  # fewer rows say nothing about a rank correlation


class InferenceParams(StageParams):
    """Settings that scoring reads."""

    features: FeaturesSettings
    selection: SelectionSettings
    htr: HtrSettings
    ranking: RankingSettings
    mps: MpsSettings


def _refuse(params: InferenceParams) -> None:
    require_built(params.features, params.selection, params.ranking)


@stage(
    "selection.inference",
    writes=("selection_scores", "null_calibration"),
    params=InferenceParams,
    refuses=_refuse,
)
def infer(selection_features: pl.DataFrame, null_tables: NullTables, params: InferenceParams) -> Outcome:
    """Score every candidate within its direction and name thresholds that cannot act."""
    _refuse(params)
    engine = engine_of(params.features.selection_mode)
    weights = weights_of(engine, params.mps, params.features)
    candidates = Candidates.of(selection_features)
    found = lengths(candidates)
    scored = score(
        candidates, engine, weights, params.selection.liquidity_ref,
        lambda n: null_tables.get(HURST_TABLE, n).mu0,
    )  # fmt: skip
    blocked = unreachable(found, null_tables, params.features, params.htr)
    if blocked and params.features.require_reachable_thresholds:
        raise ConfigError(
            "THRESHOLD_UNREACHABLE",
            blocked[0].message,
            where=str(blocked[0].details["key"]),
            remedy="lower the threshold, or raise features.feature_lookback",
        )
    return Outcome(
        outputs={
            "selection_scores": scores_frame(candidates, scored),
            "null_calibration": calibration_frame(found, null_tables),
        },
        findings=blocked + collinear(candidates, scored, weights),
        metrics={"scored": len(candidates), "engine": engine.name},
    )


def scores_frame(candidates: Candidates, scored: Scored) -> pl.DataFrame:
    """`selection_scores`: one row per atom, ascending; NaN becomes null."""
    metrics = {
        f"{name}_{kind}": table[name]
        for name in scored.raw
        for kind, table in (("raw", scored.raw), ("prob", scored.prob))
    }
    return pl.DataFrame(
        {
            "atom": candidates.atoms,
            "log_score": scored.log_score,
            "alpha_score": scored.alpha_score,
            "rank_score": scored.alpha_score,
            "n_neutral": pl.Series(scored.n_neutral, dtype=pl.Int32),
            "n_scored": pl.Series([scored.n_scored] * len(candidates), dtype=pl.Int32),
            **metrics,
        },
        nan_to_null=True,
    )


def collinear(candidates: Candidates, scored: Scored, weights: dict[str, float]) -> list[Finding]:
    """`SIGNAL_COLLINEAR` for pairs of weighted metrics that order a leg in nearly the same way."""
    active = sorted(name for name, weight in weights.items() if weight > 0.0)
    findings = []
    for direction in LEGS:
        rows = candidates.leg(direction)
        for left, right in combinations(active, 2):
            rho = rank_correlation(scored.raw[left][rows], scored.raw[right][rows])
            if abs(rho) > COLLINEAR:
                findings.append(_collinear(direction, left, right, rho))
    return findings


def rank_correlation(left: Array, right: Array) -> float:
    """Spearman's rho over rows where both are known; 0 below ten rows or without variation."""
    both = ~(np.isnan(left) | np.isnan(right))
    if both.sum() < COLLINEAR_ROWS:
        return 0.0
    x, y = average_ranks(left[both]), average_ranks(right[both])
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / norm if norm > 0.0 else 0.0


def _collinear(direction: str, left: str, right: str, rho: float) -> Finding:
    return Finding(
        level="INFO",
        code="SIGNAL_COLLINEAR",
        message=f"{left} and {right} order the {direction} leg alike (rank correlation {rho:.3f})",
        details={"leg": direction, "left": left, "right": right, "rho": rho},
    )
