"""Files that a retry set aside and that are not what their run recorded: noted in its ledger, once.

A changed artifact fails a run (`ARTIFACT_CORRUPT`). A retry that writes it anew moves the changed file to
`attempts/<n>/`, where nothing could verify any more. So the first stage of the new attempt notes the
hash that was found: the chain then holds both, and verification accepts that file and no other.
"""

from __future__ import annotations

from typing import Any

from quantctl.contracts.canonical import sha256_hex
from quantctl.contracts.stage import Finding
from quantctl.lake import ledger, state
from quantctl.workflows.session import Session


def noted(session: Session, attempt: int) -> list[dict[str, Any]]:
    """Events `SUPERSEDED_CORRUPT` of the stage that begins `attempt`; none for the stages after it."""
    from quantctl.steps.reporting.history import recorded_files

    with state.reader(session.runtime.places.state_url) as connection:
        records = list(ledger.records(connection, session.request.run_id)) if connection else []
    begun = [r["seq"] for r in records if r["code"] == "REOPENED" and r["attempt"] == attempt]
    if not begun or any(r["type"] == "stage" and r["status"] != "intent" for r in records[begun[0] :]):
        return []
    known = {r["data"]["path"] for r in records if r["code"] == "SUPERSEDED_CORRUPT"}
    found = []
    for version in recorded_files(records, terminal=True):
        if version.aside and version.place not in known:
            data = session.directory.content(version.place)
            sha = None if data is None else sha256_hex(data)
            if sha != version.sha256:
                found.append(_event(version.place, version.sha256, sha))
    return found


def _event(path: str, recorded: str, found: str | None) -> dict[str, Any]:
    message = f"{path} was set aside and is not the file its record names"
    details = {"event": True, "path": path, "recorded": recorded, "found": found}
    return Finding(level="INFO", code="SUPERSEDED_CORRUPT", message=message, details=details).model_dump()
