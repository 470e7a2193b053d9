"""The darwinian filter, always on: what may not be traded at all, and bars that are too wild."""

from __future__ import annotations

import numpy as np

from quantctl.steps.l2_selection.candidates import Candidates
from quantctl.steps.l2_selection.filters.veto import Array, Veto, judged, vetoes_where

STAGE = "darwinian"
MAX_AGE = 3.0  # sessions
SURVIVAL_MIN = 0.1  # share of stress windows
KURTOSIS_MAX = 20.0
VOL_MAX = 2.5  # annualised
ROC_MAX, ROC_MIN = 100.0, -80.0  # percent over 9 bars, unadjusted
VOLUME_Z_MAX = 10.0


def darwinian(candidates: Candidates, entropy_hard_stop: float) -> list[Veto]:
    """Vetoes of freshness, metadata, survival, the entropy hard stop and extreme bars.

    entropy_hard_stop : permutation entropy above which nothing is admitted, in [0, 1]
    """
    atoms = candidates.atoms
    age = candidates.number("feature_age")
    stale = ~(age <= MAX_AGE)
    roc = candidates.number("roc_9") * candidates.sign
    return [
        *vetoes_where(stale, atoms, "FEATURE_STALE", age, MAX_AGE, STAGE),
        *_metadata(candidates),
        *judged(
            candidates.number("regime_survival"), atoms, "regime_survival", "SURVIVAL_FAILED",
            SURVIVAL_MIN, STAGE, lambda x: x < SURVIVAL_MIN,
        ),
        *judged(
            candidates.number("entropy"), atoms, "entropy", "TOXIC_ENTROPY", entropy_hard_stop, STAGE,
            lambda x: x > entropy_hard_stop,
        ),
        *judged(
            candidates.number("kurtosis"), atoms, "kurtosis", "TAIL_EXTREME", KURTOSIS_MAX, STAGE,
            lambda x: x > KURTOSIS_MAX,
        ),
        *judged(
            sigma_ann(candidates), atoms, "stability", "VOL_EXTREME", VOL_MAX, STAGE, lambda x: x > VOL_MAX
        ),
        *judged(roc, atoms, "roc_9", "ROC_EXTREME", ROC_MAX, STAGE, lambda x: (x > ROC_MAX) | (x < ROC_MIN)),
        *judged(
            candidates.number("volume_z"), atoms, "volume_z", "VOLUME_SPIKE", VOLUME_Z_MAX, STAGE,
            lambda x: x > VOLUME_Z_MAX,
        ),
    ]  # fmt: skip


def sigma_ann(candidates: Candidates) -> Array:
    """Annualised std of the stream over the rows of `stability` = 1/(σ + 1e-9)."""
    stability = candidates.number("stability")
    with np.errstate(divide="ignore"):
        sigma: Array = 1.0 / stability - 1e-9
    return sigma


def _metadata(candidates: Candidates) -> list[Veto]:
    """`METADATA_INCOMPLETE`, judged by value: null, NaN or, but for precision, not above zero."""
    lacking: dict[int, list[str]] = {}
    for name, least in (("tick_size", 0.0), ("lot_size", 0.0), ("price_precision", -1.0)):
        for row in np.flatnonzero(~(candidates.number(name) > least)):
            lacking.setdefault(int(row), []).append(name)
    atoms = candidates.atoms
    return [
        Veto(atoms[row], "METADATA_INCOMPLETE", ",".join(names), "present", STAGE)
        for row, names in sorted(lacking.items())
    ]
