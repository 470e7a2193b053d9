"""Notices of ended runs, listed and sent by hand."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from quantctl.contracts.errors import DataMissing
from quantctl.contracts.ids import check_run_id
from quantctl.lake import notices
from quantctl.workflows.runtime import Places


def listed(places: Places, *, unsent: bool = False, limit: int = 200) -> list[dict[str, Any]]:
    """Notices, newest first."""
    return [asdict(notice) for notice in notices.known(places.state_url, unsent=unsent, limit=limit)]


def send(places: Places, run_id: str | None = None) -> list[dict[str, Any]]:
    """Try now what nobody has got, and return it as it stands then."""
    from quantctl.workflows.telling import attempt

    if run_id is not None:
        check_run_id(run_id)
    everything = notices.known(places.state_url)
    if run_id is not None and run_id not in {notice.run_id for notice in everything}:
        raise DataMissing(
            "NOTICE_UNKNOWN", f"nobody is to be told of {run_id!r}", where=run_id,
            remedy="quantctl notify list; a run tells whom its settings `notify.*` named when it started",
        )  # fmt: skip
    chosen = [notice for notice in everything if notice.state != "SENT" and run_id in (None, notice.run_id)]
    if not chosen:
        return []
    with places.writing() as engine:
        for notice in reversed(chosen):
            attempt(places, engine, notice, lambda: datetime.now(UTC))
    keys = {(notice.run_id, notice.seq, notice.channel) for notice in chosen}
    return [row for row in listed(places) if (row["run_id"], row["seq"], row["channel"]) in keys]
