"""`data/lake_snapshot.json`: the snapshot that a run has pinned, down to its parts."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SHA256 = "^[0-9a-f]{64}$"


class PartRef(BaseModel):
    """One part file and its number of rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern=SHA256)
    rows: int = Field(ge=0)


class TableRef(BaseModel):
    """One table: rows of all versions, logical hash, parts in commit order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(ge=0)
    logical_hash: str = Field(pattern=SHA256)
    parts: list[PartRef]


class LakeSnapshot(BaseModel):
    """A pinned snapshot. `as_of` is a date, `knowledge_time` an instant in UTC, both ISO 8601."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^snap-\d{8}-[0-9a-f]{12}$")
    manifest_sha256: str = Field(pattern=SHA256)
    as_of: str
    knowledge_time: str
    tables: dict[str, TableRef]
    feature_definition_hash: str | None
    feature_parameters: dict[str, Any]
    scanner_hashes: dict[str, str]
