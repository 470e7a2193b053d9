"""`data/foundation_report.json`: what the foundation rules dropped, and what they left."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Role = Literal["pool", "reference"]


class FoundationDrop(BaseModel):
    """One symbol that a rule removed: code, measured value, limit, and the roles it had."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    symbol: str
    code: str
    value: float | None = None
    limit: float | None = None
    roles: list[Role] = []


class FoundationNote(BaseModel):
    """A warning or fact about the matrix: it drops nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Literal["WARN", "INFO"]
    code: str
    symbol: str | None = None
    message: str
    details: dict[str, Any] = {}


class AssetFacts(BaseModel):
    """What the rules measured of one surviving column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    symbol: str
    roles: list[Role]
    n_obs: int
    gap_share: float
    zero_share: float
    adv: float | None


class FoundationReport(BaseModel):
    """The account of the returns matrix.

    window : `{first, last, sessions}` of the union index before density, ISO dates
    floor : `{configured, effective}` observations
    dropped_rows : calendar -> rows lost to density or the inner join
    column_roles : symbol -> roles of every column of the matrix
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    run_id: str
    profile: str
    as_of: str
    annualisation: int
    calendars: list[str]
    window: dict[str, Any]
    floor: dict[str, int]
    counts: dict[str, int]
    drops: list[FoundationDrop]
    notes: list[FoundationNote]
    dropped_rows: dict[str, int]
    column_roles: dict[str, list[Role]]
    assets: list[AssetFacts]

    def columns(self, role: Role) -> list[str]:
        """The columns of a role, sorted by symbol."""
        return sorted(symbol for symbol, roles in self.column_roles.items() if role in roles)
