"""`data.audit`: health of symbols at a date; new findings go to the registry, unchanged ones do not."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl

from quantctl.contracts.canonical import hash_json
from quantctl.contracts.errors import DataMissing, DataUnhealthy
from quantctl.contracts.grouping import grouped
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.stage import Finding, Outcome, RunFacts, StageParams, stage
from quantctl.lake.knowledge import end_of_day
from quantctl.lake.snapshot import Lake
from quantctl.steps.l0_foundation.health import Health, judge
from quantctl.workflows.dataops.lineage import base_of
from quantctl.workflows.dataops.requests import PlainRequest

SETTLED = ("CLEARED", "RESOLVED")
_TEXT = (
    "event_id", "symbol", "status", "code", "severity", "reason", "run_id", "trace_id", "actor", "provenance",
)  # fmt: skip
EVENT_SCHEMA: dict[str, Any] = (
    dict.fromkeys(_TEXT, pl.String)
    | {"value": pl.Float64, "threshold": pl.Float64, "session_date": pl.Date}
    | dict.fromkeys(("known_at", "recorded_at"), pl.Datetime("us", "UTC"))
)


class AuditParams(StageParams):
    """Limits of health."""

    data: DataSettings


@stage("data.audit", writes=("health_report",), params=AuditParams)
def audit_health(
    *, lake: Lake, request: PlainRequest, now: datetime, params: AuditParams, run: RunFacts
) -> Outcome:
    """Judge every symbol with bars and record what changed in the health registry."""
    txn = f"{run.run_id}/data.audit/health"
    before = base_of(lake, txn)
    if before is None or "bars_1d" not in before.manifest.tables:
        raise DataMissing("LAKE_MISSING", "there are no bars to audit", remedy="quantctl data import PATH")
    as_of = request.as_of or before.as_of
    at = before.decision_time(as_of)
    symbols, events = before.symbols(as_of), before.table("health_events")
    health = judge(
        before.table("bars_1d", end=as_of, known_at=at), before.sessions(end=as_of), symbols, as_of=as_of,
        at=end_of_day(as_of), settings=params.data, metadata=before.metadata(as_of),
        events=before.health_events(as_of),
    )  # fmt: skip
    rows = _events(health, events, now, run, newest=as_of >= before.as_of)
    lake.commit({"health_events": rows}, txn=txn, at=now)
    counts = dict(health.verdicts["status"].value_counts(sort=True).sort("status").iter_rows())
    report = {
        "schema_version": 1, "as_of": as_of.isoformat(), "counts": counts,
        "verdicts": health.verdicts.to_dicts(),
        "findings": health.findings.with_columns(pl.col("session_date").cast(pl.String)).to_dicts(),
    }  # fmt: skip
    bad = _unexcused(lake, as_of, health)
    error = DataUnhealthy(
        "HEALTH_UNHEALTHY", f"{len(bad)} candidates are unhealthy", where=bad[0],
        remedy="quantctl data health"
    ) if bad and params.data.strict else None  # fmt: skip
    findings = [
        Finding(level="WARN", code=code, message=f"{number} symbols", details={"symbols": number})
        for code, number in health.findings["code"].value_counts(sort=True).sort("code").iter_rows()
    ]
    return Outcome(
        {"health_report": report}, findings=findings, metrics=counts | {"events": rows.height}, error=error
    )


def _unexcused(lake: Lake, as_of: date, health: Health) -> list[str]:
    """Published candidates of the date that are not eligible and not listed as such.

    Candidates that wait for their publication do not count: it is what lists the ineligible ones.
    """
    head = lake.log.head()
    if head is None or head.published_version is None:
        return []
    latest = lake.snapshot()
    candidates = latest.table("candidates", start=as_of, end=as_of, columns=("symbol",))["symbol"]
    excused = {
        e["symbol"] for e in latest.manifest.facts.get("ineligible", []) if e["as_of"] == as_of.isoformat()
    }
    unfit = health.verdicts.filter(~pl.col("eligible"))["symbol"].to_list()
    return sorted(set(unfit) & set(candidates.to_list()) - excused)


def _events(
    health: Health, stored: pl.DataFrame, now: datetime, run: RunFacts, *, newest: bool
) -> pl.DataFrame:
    """New or changed findings, and those that are gone: soft ones by themselves, hard ones by corrected bars.

    An audit of an earlier date (not `newest`) settles nothing: what it does not see may have come later.
    """
    last = grouped(stored, ["symbol", "code"], ["known_at", "event_id"]).agg(
        pl.col("status", "severity", "value", "session_date").last()
    )
    state = {(row["symbol"], row["code"]): row for row in last.iter_rows(named=True)}
    rows = []
    for row in health.findings.iter_rows(named=True):
        old = state.pop((row["symbol"], row["code"]), None)
        moves = row["code"] == "DATA_STALE"  # an age always changes
        if old is None or old["status"] != row["status"] or (
            not moves and (old["value"], old["session_date"]) != (row["value"], row["session_date"])
        ):  # fmt: skip
            rows.append(row)
    for (symbol, code), old in sorted(state.items()) if newest else ():
        if old["status"] not in SETTLED and code != "BAR_REVISED":
            rows.append({
                "symbol": symbol, "status": "RESOLVED", "code": code, "severity": old["severity"],
                "value": None,
                "threshold": None, "session_date": None, "reason": "no longer found",
            })  # fmt: skip
    stamp = {
        "run_id": run.run_id, "trace_id": run.trace_id, "actor": "data.audit", "provenance": "audit",
        "known_at": now, "recorded_at": now,
    }  # fmt: skip
    full = [
        row | stamp | {"event_id": hash_json([run.run_id, row["symbol"], row["code"], row["status"]])[:32]}
        for row in rows
    ]
    return pl.DataFrame(full, schema=EVENT_SCHEMA)
