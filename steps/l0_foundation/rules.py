"""Rules 1 to 9 of the foundation, asset by asset. Each returns the veto, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.settings.universe import PegSettings

Floats = NDArray[np.float64]
OFF_CALENDAR_MAX = 0.01
MIN_VARIANCE = 1e-16
_HEALTH_CODES = {"MISSING": "DATA_MISSING", "STALE": "DATA_STALE", "TOXIC": "HEALTH_TOXIC"}


@dataclass(frozen=True)
class Veto:
    """Code of a rule, the measured value and its limit (null where there is none)."""

    code: str
    value: float | None = None
    limit: float | None = None


def availability(bars: int, off_calendar: int, invalid: int, health: Mapping[str, Any] | None) -> Veto | None:
    """Rules 1 and 2: bars present, health eligible at t, at most 1 % of bars off the calendar.

    health : status, eligible, code, value, threshold; without a verdict the asset is
    `HEALTH_UNKNOWN`. Statuses other than missing, stale and toxic keep the code of their reason.
    A close that is not a positive number is toxic, whatever the verdict says.
    """
    if bars == 0:
        return Veto("DATA_MISSING")
    if health is None:
        return Veto("HEALTH_UNKNOWN")
    if not health["eligible"]:
        code = _HEALTH_CODES.get(health["status"]) or health["code"]
        return Veto(code, health["value"], health["threshold"])
    if invalid:
        return Veto("HEALTH_TOXIC", float(invalid), 0.0)
    share = off_calendar / bars
    return Veto("OFF_CALENDAR", share, OFF_CALENDAR_MAX) if share > OFF_CALENDAR_MAX else None


def behaviour(returns: Floats, sessions: int, settings: DataSettings) -> Veto | None:
    """Rules 4 to 8 on one column of the window (NaN where nothing was observed).

    sessions : sessions of the asset's calendar in the window. In order: observations, toxic return,
    population variance, share of exact zeros among the observed sessions, share of gaps.
    """
    seen = returns[np.isfinite(returns)]
    if seen.size < settings.min_days_floor:
        return Veto("HISTORY_SHORT", float(seen.size), float(settings.min_days_floor))
    largest = float(np.abs(seen).max())
    if largest > settings.toxicity.max_abs_return:
        return Veto("TOXIC_RETURN", largest, settings.toxicity.max_abs_return)
    variance = float(seen.var())
    if not variance > MIN_VARIANCE:
        return Veto("ZERO_VARIANCE", variance, MIN_VARIANCE)
    zeros = zero_share(seen)
    if zeros > settings.max_zero_share:
        return Veto("HEALTH_FLATLINE", zeros, settings.max_zero_share)
    gaps = 1.0 - seen.size / sessions
    return Veto("GAP_EXCESS", gaps, settings.max_gap_share) if gaps > settings.max_gap_share + 1e-12 else None


def zero_share(seen: Floats) -> float:
    """Share of exactly zero returns among the observed ones."""
    return float(np.mean(seen == 0.0))


def pegged(returns: Floats, closes: Floats, peg: PegSettings, annualisation: int) -> Veto | None:
    """`PEG_DETECTED`: quiet, or glued to 1.0, over the last `peg.window` observations.

    Volatility is the standard deviation (ddof 1) of those returns times sqrt(annualisation); the
    share is of those closes within `peg.band` of 1.0 in quote units.
    """
    recent = returns[np.isfinite(returns)][-peg.window :]
    volatility = float(recent.std(ddof=1) * np.sqrt(annualisation))
    if volatility < peg.vol_max:
        return Veto("PEG_DETECTED", volatility, peg.vol_max)
    near = np.abs(closes[np.isfinite(closes)][-peg.window :] - 1.0) <= peg.band
    share = float(near.mean())
    return Veto("PEG_DETECTED", share, peg.share) if share >= peg.share else None
