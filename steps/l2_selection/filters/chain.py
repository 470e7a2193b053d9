"""The chain of filters: every veto of every candidate, on the strict and on the relaxed thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.htr import HtrSettings
from quantctl.contracts.settings.selection import SelectionSettings
from quantctl.steps.l2_selection.candidates import Candidates
from quantctl.steps.l2_selection.filters.darwinian import darwinian
from quantctl.steps.l2_selection.filters.friction import friction, hurdle, unknown_turnover
from quantctl.steps.l2_selection.filters.momentum import momentum
from quantctl.steps.l2_selection.filters.predictability import Thresholds, base_thresholds, predictability
from quantctl.steps.l2_selection.filters.veto import Array, Veto, veto_class, vetoes_where

STRICT, RELAXED = 1, 2
NOISY = 0.95  # cross-section mean of permutation entropy that hardening reacts to
SPARSE_SHARE = 1.0 / 3.0


@dataclass(frozen=True)
class Filtered:
    """What the filters found.

    fixed : vetoes that no rung changes
    graded : rung (1 strict, 2 relaxed) -> vetoes of the predictability filter there
    thresholds : the same rungs -> its thresholds
    """

    fixed: tuple[Veto, ...]
    graded: Mapping[int, tuple[Veto, ...]]
    thresholds: Mapping[int, Thresholds]

    def vetoes(self, rung: int) -> dict[str, list[Veto]]:
        """Atom -> its vetoes on `rung` 1..4, each code once, in the order of the chain."""
        return by_atom((*self.fixed, *self.graded[min(rung, RELAXED)]))

    def barred(self) -> frozenset[str]:
        """Atoms with a HARD or STRATEGY veto."""
        found = (*self.fixed, *self.graded[STRICT], *self.graded[RELAXED])
        return frozenset(veto.atom for veto in found if veto_class(veto.code) in ("HARD", "STRATEGY"))

    def soft(self, rung: int) -> frozenset[str]:
        """Atoms with a SOFT veto on `rung`."""
        found = (*self.fixed, *self.graded[rung])
        return frozenset(veto.atom for veto in found if veto_class(veto.code) == "SOFT")


def by_atom(vetoes: Iterable[Veto]) -> dict[str, list[Veto]]:
    """Atom -> its vetoes; the first of each code stays."""
    found: dict[str, dict[str, Veto]] = {}
    for veto in vetoes:
        found.setdefault(veto.atom, {}).setdefault(veto.code, veto)
    return {atom: list(codes.values()) for atom, codes in found.items()}


def filter_candidates(
    candidates: Candidates,
    neutral: tuple[Array, Array],
    features: FeaturesSettings,
    selection: SelectionSettings,
    htr: HtrSettings,
) -> Filtered:
    """Run the active filters.

    neutral : (N,) metrics without a value, and (N,) metrics scored, per candidate

    Raises `FEATURE_COLUMN_MISSING` (exit 3): a column that is not there vetoes nobody.
    """
    strict = base_thresholds(features, hardened=is_hardened(candidates, htr))
    thresholds = {STRICT: strict, RELAXED: strict.relaxed()}
    active = "predictability" in selection.filters and features.feat_predictability_vetoes
    graded = {
        rung: tuple(predictability(candidates, limits)) if active else ()
        for rung, limits in thresholds.items()
    }
    fixed = [
        *darwinian(candidates, htr.entropy_hard_stop),
        *unknown_turnover(candidates),
        *sparse(candidates, *neutral),
        *disabled_direction(candidates, shorts=features.feat_short_direction),
    ]
    if "friction" in selection.filters:
        least = hurdle(features.eci_hurdle, selection.min_momentum_score)
        fixed += friction(candidates, selection.eci_order_notional, least)
    if "momentum" in selection.filters:
        fixed += momentum(candidates, selection.min_momentum_score)
    return Filtered(tuple(fixed), graded, thresholds)


def is_hardened(candidates: Candidates, htr: HtrSettings) -> bool:
    """Whether the cross-section's mean entropy is above 0.95 and hardening is on."""
    entropy = candidates.number("entropy")
    known = entropy[~np.isnan(entropy)]
    return htr.entropy_hardening and len(known) > 0 and float(known.mean()) > NOISY


def sparse(candidates: Candidates, neutral: Array, scored: Array) -> list[Veto]:
    """`FEATURE_SPARSE` where more than a third of the scored metrics have no value."""
    share = np.divide(neutral, scored, out=np.zeros(len(neutral)), where=scored > 0)
    thin = 3.0 * neutral > scored
    return vetoes_where(thin, candidates.atoms, "FEATURE_SPARSE", share, SPARSE_SHARE, "scoring")


def disabled_direction(candidates: Candidates, *, shorts: bool) -> list[Veto]:
    """`DIRECTION_DISABLED` for every SHORT row where short atoms are off."""
    if shorts:
        return []
    atoms = candidates.atoms
    return [
        Veto(atoms[row], "DIRECTION_DISABLED", "SHORT", "LONG", "direction")
        for row in candidates.leg("SHORT")
    ]
