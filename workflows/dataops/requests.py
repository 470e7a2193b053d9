"""What a DataOps command asks for: small, JSON-able, stored with its run."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImportRequest(_Request):
    """`data import PATH...`."""

    paths: tuple[str, ...]
    table: Literal["bars_1d", "candidates", "instruments"] = "bars_1d"
    exchange: str | None = None
    calendar: str | None = None
    mapping: dict[str, str] = {}
    close_only: bool = False
    as_of: date | None = None
    strict: bool = False
    known_at: Literal["session", "now"] = "session"
    valid_from: date | None = None
    reason: str | None = None
    scanners: dict[str, dict[str, Any]] = {}  # definitions that candidate records may name


class SimulateRequest(_Request):
    """`data simulate`."""

    seed: int = 7
    symbols: int = 120
    days: int = 800
    start: date = date(2023, 1, 1)
    calendar: str = "24x7"
    exchange: str = "BINANCE"


class ScopeRequest(_Request):
    """`data features`: whose features. Either symbols (of a candidates file or an import), or all of them."""

    scope_run_id: str | None = None
    symbols: tuple[str, ...] | None = None
    all_symbols: bool = False
    yes: bool = False
    allow_empty: bool = False


class CandidatesRequest(_Request):
    """`data candidates`: definitions of a profile's scanners, resolved, by name."""

    scanners: dict[str, dict[str, Any]]
    as_of: date | None = None
    snapshot: str | None = None
    refresh: bool = False


class ClearRequest(_Request):
    """`data health clear`: a person answers for a finding of a symbol."""

    symbol: str
    code: str
    reason: Annotated[str, Field(min_length=10)]
    actor: Annotated[str, Field(min_length=1)]


class PlainRequest(_Request):
    """A stage that needs nothing but the lake."""

    as_of: date | None = None
