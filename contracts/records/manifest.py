"""`config/resolved_manifest.json`: every effective value of a run and where it came from."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from quantctl.contracts.records.fork import ForkedFrom
from quantctl.contracts.records.run import CodeFacts


class Manifest(BaseModel):
    """The resolved manifest. `manifest_sha256` is its logical hash: the sha256 of the canonical
    manifest without itself, `created_at`, `replay`, and `paths` in settings and origins."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int
    run_id: str
    profile: str
    pipeline: str
    created_at: str
    trace_id: str = Field(pattern="^[0-9a-f]{32}$")
    as_of: str
    settings: dict[str, Any]
    origins: dict[str, str]
    extends_chain: list[str]
    profile_sha256: list[str]
    manifest_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    snapshot: dict[str, Any]
    arguments: dict[str, Any]
    code: CodeFacts
    env: dict[str, Any]
    seeds: dict[str, int]
    charter: list[dict[str, Any]]
    sleeves: list[dict[str, Any]]
    replay: list[str]
    forked_from: ForkedFrom | None = None  # of a fork only
