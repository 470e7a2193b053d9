"""Session days of the calendars of a matrix, as boolean masks over consecutive UTC days."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.errors import ConfigError, DataMissing
from quantctl.contracts.ids import exchange_of

ALWAYS_OPEN = ("24x7", "XCRY", "CRYPTO")
Mask = NDArray[np.bool_]


def calendar_of(symbol: str, calendars: Mapping[str, str]) -> str:
    """Calendar code of a symbol's exchange; `CALENDAR_UNKNOWN` (exit 2) where it is not mapped."""
    exchange = exchange_of(symbol)
    if exchange not in calendars:
        raise ConfigError(
            "CALENDAR_UNKNOWN", f"exchange {exchange} has no calendar", where=f"data.calendars:{symbol}",
            remedy=f"add {exchange} to data.calendars",
        )  # fmt: skip
    code = calendars[exchange]
    return "24x7" if code in ALWAYS_OPEN else code


def session_masks(codes: Iterable[str], sessions: pl.DataFrame, first: date, last: date) -> dict[str, Mask]:
    """Code -> mask of shape (last - first + 1,): whether the day is a session.

    sessions : code, date; not needed for `24x7`, whose sessions are all UTC days.
    Raises `CALENDAR_RANGE` (exit 3) where the sessions of a calendar do not reach the range.
    """
    days = (last - first).days + 1
    masks: dict[str, Mask] = {}
    for code in sorted(set(codes)):
        if code == "24x7":
            masks[code] = np.ones(days, dtype=np.bool_)
            continue
        offsets = day_offsets(sessions.filter(pl.col("code") == code)["date"], first)
        inside = offsets[(offsets >= 0) & (offsets < days)]
        if not inside.size:
            raise DataMissing(
                "CALENDAR_RANGE", f"no session of {code} from {first} to {last} in the snapshot",
                where=f"calendar_sessions:{code}", remedy="quantctl data ingest",
            )  # fmt: skip
        masks[code] = np.zeros(days, dtype=np.bool_)
        masks[code][inside] = True
    return masks


def day_offsets(dates: pl.Series, first: date) -> NDArray[np.int64]:
    """Days since `first` of a Date series."""
    return dates.cast(pl.Int32).to_numpy().astype(np.int64) - (first - date(1970, 1, 1)).days


def day_at(first: date, offset: int) -> date:
    """The day `offset` days after `first`."""
    return first + timedelta(days=int(offset))
