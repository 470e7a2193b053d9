"""Selection as a library: pure functions on arrays and frames, without a run, a lake or settings files.

    from quantctl.selection import cluster_streams, probability
    probability(values, "rank", "real")

Probabilities map one direction leg; `score` needs `Candidates`, an `Engine` and its weights; `climb` runs
the relaxation ladder over a `Field` of ranked members.
"""

from __future__ import annotations

from quantctl.steps.l2_selection.candidates import Candidates
from quantctl.steps.l2_selection.clustering import Clustering, cluster_streams
from quantctl.steps.l2_selection.engines import ENGINES, Engine, Metric, engine_of, weights_of
from quantctl.steps.l2_selection.explain import explain
from quantctl.steps.l2_selection.frame import feature_frame
from quantctl.steps.l2_selection.ladder import Admission, Field, Member, Rung, climb
from quantctl.steps.l2_selection.predictability import efficiency, hurst, permutation_entropy
from quantctl.steps.l2_selection.probability import average_ranks, minmax, probability
from quantctl.steps.l2_selection.ranking import Ranking, rank_candidates
from quantctl.steps.l2_selection.scoring import (
    Scored,
    hurst_signal,
    liquidity_score,
    score,
    survival_score,
)  # fmt: skip

__all__ = [
    "ENGINES", "Admission", "Candidates", "Clustering", "Engine", "Field", "Member", "Metric", "Ranking",
    "Rung", "Scored", "average_ranks", "climb", "cluster_streams", "efficiency", "engine_of", "explain",
    "feature_frame", "hurst", "hurst_signal", "liquidity_score", "minmax", "permutation_entropy",
    "probability", "rank_candidates", "score", "survival_score", "weights_of",
]  # fmt: skip
