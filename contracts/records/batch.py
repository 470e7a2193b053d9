"""A batch: what its parent run is asked to do, and `data/batch.json`, what came of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PIPELINE = "batch.full"
STAGE = "batch.children"
CHILD_CLOSED = "CHILD_CLOSED"
CHILD_SKIPPED = "CHILD_SKIPPED"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sleeve(_Record):
    """What the children of one profile have in common: its resolved settings, without `paths`."""

    settings: dict[str, Any]
    origins: dict[str, str]
    extends_chain: list[str]
    profile_sha256: list[str]
    annualisation: int
    options: list[str]  # what stands before `run` in the command that makes a child again


class Child(_Record):
    """One run of a batch; its id is `<parent>-<suffix>`."""

    suffix: str
    profile: str
    as_of: str


class BatchArguments(_Record):
    """The arguments of a parent run: its children in the order in which they begin and are booked.

    window : how many children may have begun beyond those that ended; with it alone it is decided which
        ones begin before a failure stops the batch, so that no clock has a say
    """

    pipeline: str
    stages: list[str]
    keep_going: bool
    window: int = Field(ge=1)
    sleeves: dict[str, Sleeve]
    children: list[Child] = Field(min_length=1)


class ChildEnd(_Record):
    """How a child ended, as `data/batch.json` keeps it; what only a run has is null if it never began.

    body_chain : what the child's ledger has in common with that of any equal run
    weights_sha256 : of its `data/portfolio_flattened.json`; null where it has none
    """

    suffix: str
    run_id: str
    profile: str
    as_of: str
    state: Literal["SUCCESS", "FAILED", "CANCELLED", "SKIPPED"]
    exit_code: int | None = None
    code: str | None = None
    message: str | None = None
    records: int | None = None
    body_chain: str | None = None
    manifest_sha256: str | None = None
    weights_sha256: str | None = None


class Batch(_Record):
    """`data/batch.json`. It holds no time, so equal batches have equal bytes; heads are in the ledger."""

    schema_version: Literal[1] = 1
    run_id: str
    profile: str
    succeeded: int
    failed: int
    cancelled: int
    skipped: int
    children: list[ChildEnd]
