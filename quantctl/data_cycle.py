"""What the stages of a data cycle are asked for, from the settings of a profile."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantctl.contracts.settings import Settings
    from quantctl.workflows.dataops.requests import CandidatesRequest, ScopeRequest


def candidates(
    settings: Settings, *, as_of: date | None = None, snapshot: str | None = None, refresh: bool = False
) -> CandidatesRequest:
    """The scanners of a profile, resolved; `SCANNER_UNKNOWN` and its like (exit 2)."""
    from quantctl.scanner_files import as_json, definitions
    from quantctl.workflows.dataops.requests import CandidatesRequest

    found = as_json(definitions(tuple(settings.discovery.scanners), Path(settings.paths.profiles_dir)))
    return CandidatesRequest(scanners=found, as_of=as_of, snapshot=snapshot, refresh=refresh)


def cycle(scope: ScopeRequest, found: CandidatesRequest) -> dict[str, Any]:
    """Arguments of `data.full`: features of `scope`, candidates of `found`, all as of its date."""
    from quantctl.workflows.dataops.requests import CandidatesRequest, PlainRequest

    plain = PlainRequest(as_of=found.as_of)
    asked = {
        "data.features": scope, "data.audit": plain, "data.candidates": found, "data.metadata": plain,
        "data.publish": CandidatesRequest(scanners={}, as_of=found.as_of),
    }  # fmt: skip
    return {stage: request.model_dump(mode="json") for stage, request in asked.items()}
