"""The predictability filter: noise, random walks and persistence against the holder, on the raw scale."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.steps.l2_selection.candidates import Candidates
from quantctl.steps.l2_selection.filters.veto import Veto, judged, vetoes_where

STAGE = "predictability"


class Thresholds(NamedTuple):
    """Thresholds in force on a rung of the ladder; all on metrics in [0, 1]."""

    entropy_max: float
    efficiency_min: float
    hurst_min: float
    hurst_max: float
    hurst_toxic: float

    def relaxed(self) -> Thresholds:
        """Rung 2 and above: entropy times 1.2 (at most 1), efficiency times 0.8, nothing else."""
        return self._replace(
            entropy_max=min(1.0, 1.2 * self.entropy_max), efficiency_min=0.8 * self.efficiency_min
        )


def base_thresholds(features: FeaturesSettings, *, hardened: bool) -> Thresholds:
    """Thresholds of rung 1; `hardened` multiplies the entropy limit by 0.9."""
    return Thresholds(
        entropy_max=features.entropy_max_threshold * (0.9 if hardened else 1.0),
        efficiency_min=features.efficiency_min_threshold,
        hurst_min=features.hurst_random_walk_min,
        hurst_max=features.hurst_random_walk_max,
        hurst_toxic=features.hurst_toxic,
    )


def predictability(candidates: Candidates, limits: Thresholds) -> list[Veto]:
    """Entropy above, efficiency below, Hurst inside the open random-walk band, or toxic persistence:
    Hurst above its limit while the stream's annualised mean is negative."""
    atoms, hurst = candidates.atoms, candidates.number("hurst")
    drift = candidates.number("momentum")
    with np.errstate(invalid="ignore"):
        toxic = (hurst > limits.hurst_toxic) & (drift < 0.0)
    return [
        *judged(
            candidates.number("entropy"), atoms, "entropy", "ENTROPY_HIGH", limits.entropy_max, STAGE,
            lambda x: x > limits.entropy_max,
        ),
        *judged(
            candidates.number("efficiency"), atoms, "efficiency", "EFFICIENCY_LOW", limits.efficiency_min,
            STAGE, lambda x: x < limits.efficiency_min,
        ),
        *judged(
            hurst, atoms, "hurst", "HURST_RANDOM_WALK", limits.hurst_max, STAGE,
            lambda x: (x > limits.hurst_min) & (x < limits.hurst_max),
        ),
        *vetoes_where(toxic, atoms, "TOXIC_PERSISTENCE", hurst, limits.hurst_toxic, STAGE),
        *judged(drift, atoms, "momentum", "TOXIC_PERSISTENCE", None, STAGE, lambda x: np.zeros(len(x), bool)),
    ]  # fmt: skip
