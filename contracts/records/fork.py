"""From which run a fork keeps its first stages, as its ledger stood when the fork was made."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ForkedFrom(BaseModel):
    """Pinned in the request of a fork, and in its manifest.

    from_stage : the first stage that the fork runs itself
    seq, head_hash : the last record of the source's ledger at that time
    origins : kept stage -> the run that computed it, which is not the source where that is a fork too
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    from_stage: str
    seq: int = Field(ge=0)
    head_hash: str = Field(pattern="^[0-9a-f]{64}$")
    origins: dict[str, str]
