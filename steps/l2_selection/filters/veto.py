"""A veto, and the class of each code: what the ladder may relax and what it may not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.records.selection import VetoClass, VetoRow

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

STRATEGY = frozenset({
    "TREND_REGIME", "TREND_SIGNAL", "ADX_WEAK", "ADX_DIRECTION", "DONCHIAN_POSITION", "BB_NO_EXPANSION",
    "PERCENTILE_EXCLUDED",
})  # fmt: skip
SOFT = frozenset({
    "ENTROPY_HIGH", "EFFICIENCY_LOW", "HURST_RANDOM_WALK", "TOXIC_PERSISTENCE", "FRICTION", "MOMENTUM_LOW",
    "TAIL_EXTREME", "VOL_EXTREME", "ROC_EXTREME", "VOLUME_SPIKE",
})  # fmt: skip
NONE = frozenset({"NOT_RECRUITED", "WINNER_CAP"})
MISSING = "FEATURE_MISSING:"
# Features that feed a hard gate: without them the gate cannot be passed.
HARD_FEATURES = frozenset({"entropy", "regime_survival", "adv_30"})


class Veto(NamedTuple):
    """One reason against one atom: code, what was found, what the rule asks, and which rule."""

    atom: str
    code: str
    value: float | str | None
    limit: float | str | None
    stage: str

    def row(self) -> VetoRow:
        """The audit's form of it."""
        return VetoRow(
            code=self.code,
            class_=veto_class(self.code),
            value=_finite(self.value),
            limit=_finite(self.limit),
            stage=self.stage,
        )


def veto_class(code: str) -> VetoClass:
    """HARD unless the code is known to be of another class: an unknown reason is never relaxed."""
    if code.startswith(MISSING):
        return "HARD" if code.removeprefix(MISSING) in HARD_FEATURES else "SOFT"
    if code in STRATEGY:
        return "STRATEGY"
    if code in SOFT:
        return "SOFT"
    return "NONE" if code in NONE else "HARD"


def vetoes_where(
    mask: Mask, atoms: list[str], code: str, values: Array, limit: float | None, stage: str
) -> list[Veto]:
    """One veto per row of `mask`."""
    return [Veto(atoms[row], code, float(values[row]), limit, stage) for row in np.flatnonzero(mask)]


def judged(
    values: Array,
    atoms: list[str],
    feature: str,
    code: str,
    limit: float | None,
    stage: str,
    fails: Callable[[Array], Mask],
) -> list[Veto]:
    """Vetoes of a rule on one feature: `FEATURE_MISSING:<feature>` where NaN, else `code` where it fails."""
    unknown = np.isnan(values)
    with np.errstate(invalid="ignore"):
        failed = fails(values) & ~unknown
    missing = [Veto(atoms[row], f"{MISSING}{feature}", None, limit, stage) for row in np.flatnonzero(unknown)]
    return missing + vetoes_where(failed, atoms, code, values, limit, stage)


def _finite(value: float | str | None) -> float | str | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value
