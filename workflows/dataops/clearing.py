"""`data.clear`: a person answers for a health finding; the registry only grows."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from quantctl.contracts.canonical import hash_json
from quantctl.contracts.errors import ConfigError, DataMissing
from quantctl.contracts.stage import Finding, Outcome, RunFacts, stage
from quantctl.lake.snapshot import Lake, Snapshot
from quantctl.workflows.dataops.audit import EVENT_SCHEMA, SETTLED
from quantctl.workflows.dataops.lineage import base_of
from quantctl.workflows.dataops.requests import ClearRequest


@stage("data.clear", writes=("health_clearance",))
def clear_finding(*, lake: Lake, request: ClearRequest, now: datetime, run: RunFacts) -> Outcome:
    """Append a CLEARED event that answers for a symbol's bars up to its last one, and publish.

    Bars that come later are judged anew. Raises `LAKE_MISSING`, `HEALTH_NO_FINDING`.
    """
    txn = f"{run.run_id}/data.clear/event"
    before = base_of(lake, txn)
    if before is None:
        raise DataMissing("LAKE_MISSING", "there is no health registry", remedy="quantctl data audit")
    event = _event(before, request, now, run)
    frame = pl.DataFrame([event], schema=EVENT_SCHEMA)
    snapshot = lake.commit({"health_events": frame}, txn=txn, at=now, published=True)
    cleared = frame.select("symbol", "code", "session_date", "reason", "actor", "event_id")
    plain = cleared.with_columns(pl.col("session_date").cast(pl.String)).row(0, named=True)
    finding = Finding(
        level="WARN", code="HEALTH_CLEARED", symbol=request.symbol, details=plain,
        message=f"{request.code} cleared by {request.actor}: {request.reason}",
    )  # fmt: skip
    return Outcome(
        {"health_clearance": {"schema_version": 1, "cleared": plain}},
        findings=[finding],
        metrics={"snapshot": snapshot.id},
    )


def _event(before: Snapshot, request: ClearRequest, now: datetime, run: RunFacts) -> dict[str, object]:
    events = before.table("health_events").filter(
        (pl.col("symbol") == request.symbol) & (pl.col("code") == request.code)
    )
    last = events.sort("known_at", "event_id").tail(1)
    if last.is_empty() or last["status"][0] in SETTLED:
        raise ConfigError(
            "HEALTH_NO_FINDING", f"{request.symbol} has no open finding {request.code}", where="--code",
            remedy=f"quantctl data health {request.symbol}",
        )  # fmt: skip
    bars = before.table("bars_1d", symbols=[request.symbol], columns=("date",))
    return {
        "event_id": hash_json([run.run_id, request.symbol, request.code, "CLEARED"])[:32],
        "symbol": request.symbol, "status": "CLEARED", "code": request.code, "severity": last["severity"][0],
        "value": last["value"][0], "threshold": last["threshold"][0], "session_date": bars["date"].max(),
        "reason": request.reason, "run_id": run.run_id, "trace_id": run.trace_id, "actor": request.actor,
        "provenance": "person", "known_at": now, "recorded_at": now,
    }  # fmt: skip
