"""Candidates from files, and the rows in which candidates lie in the lakehouse."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from quantctl.contracts.canonical import canonical
from quantctl.contracts.errors import ContractError, DataMissing
from quantctl.contracts.stage import Finding, Outcome, RunFacts
from quantctl.lake.knowledge import end_of_day
from quantctl.lake.snapshot import Lake
from quantctl.lake.sources.files import read_records
from quantctl.steps.l1_ingestion.candidates import Record, merge, normalise
from quantctl.workflows.dataops.bars_commit import BarParams
from quantctl.workflows.dataops.lineage import base_of
from quantctl.workflows.dataops.requests import ImportRequest

METADATA = (
    "close", "value_traded_reported", "volatility_d", "recommend_all", "recommend_ma", "recommend_other",
    "adx", "perf_1m", "perf_3m",
)  # fmt: skip
_TEXT = ("scanner", "symbol", "exchange", "asset_type", "identity", "direction", "logic")


def candidate_rows(records: list[Record], *, as_of: date, provenance: str, run_id: str) -> pl.DataFrame:
    """Rows of the table `candidates`: typed columns flattened out of the metadata.

    Each record names its `scanner` and, where it is later than the close of the as-of date, its `known_at`.
    """
    schema: dict[str, Any] = dict.fromkeys(_TEXT, pl.String) | {"metadata": pl.String}
    schema |= dict.fromkeys(METADATA, pl.Float64) | {"market_cap_rank": pl.Float64, "volume_24h": pl.Float64}
    schema |= {"sector": pl.String, "industry": pl.String, "known_at": pl.Datetime("us", "UTC")}
    rows = [
        {**{name: record[name] for name in _TEXT}, "metadata": canonical(record["metadata"]).decode(),
         **{name: _number(record["metadata"].get(name)) for name in METADATA},
         "market_cap_rank": _number(record.get("market_cap_rank")),
         "volume_24h": _number(record.get("volume_24h")),
         "sector": record.get("sector"), "industry": record.get("industry"),
         "known_at": record.get("known_at") or end_of_day(as_of)}
        for record in records
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=schema).with_columns(
        as_of=pl.lit(as_of), provenance=pl.lit(provenance), run_id=pl.lit(run_id)
    )
    return frame.sort("as_of", "scanner", "symbol", "logic", "direction")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def import_candidates(
    lake: Lake, request: ImportRequest, now: datetime, params: BarParams, run: RunFacts
) -> Outcome:
    """Normalise records of files, commit the valid ones, and list the rejected ones.

    Invalid records fail under strict candidates (`CANDIDATE_SCHEMA_INVALID`, exit 1), nothing is written.
    """
    strict = request.strict or bool(params.data.strict_candidates)
    txn = f"{run.run_id}/data.import/candidates"
    before = base_of(lake, txn)
    if before is None:
        raise DataMissing("LAKE_MISSING", "candidates need bars first", remedy="quantctl data import PATH")
    as_of = request.as_of or before.as_of
    accepted, rejected = _judged(request, strict)
    outputs: dict[str, Any] = {"candidates_rejected": {"schema_version": 1, "rejected": rejected}}
    if rejected and strict:
        codes = sorted({each["code"] for each in rejected})
        error = ContractError(
            "CANDIDATE_SCHEMA_INVALID", f"{len(rejected)} records are invalid ({', '.join(codes)})",
            where="reports/rejected.json", remedy="mend the records, or import without strict candidates",
        )  # fmt: skip
        return Outcome(outputs, error=error)
    if not accepted:
        return Outcome(outputs, error=DataMissing("CANDIDATES_EMPTY", "no valid candidate record"))
    unique = list(
        {(r["scanner"], r["symbol"], r["logic"], r["direction"]): r for r in reversed(accepted)}.values()
    )
    rows = candidate_rows(unique, as_of=as_of, provenance="import", run_id=run.run_id)
    snapshot = lake.commit({"candidates": rows}, txn=txn, at=now, published=True)
    outputs["candidates_export"] = {
        "schema_version": 1,
        "as_of": as_of.isoformat(),
        "candidates": merge(accepted),
    }
    findings = [
        Finding(level="WARN", code=code, message=f"{count} records rejected", details={"records": count})
        for code, count in _counted(rejected)
    ]
    metrics = {"rows": rows.height, "rejected": len(rejected), "snapshot": snapshot.id}
    return Outcome(outputs, findings=findings, metrics=metrics)


def _judged(request: ImportRequest, strict: bool) -> tuple[list[Record], list[dict[str, Any]]]:
    accepted: list[Record] = []
    rejected: list[dict[str, Any]] = []
    for path in sorted(request.paths, key=lambda each: Path(each).name.encode()):
        records, _ = read_records(Path(path))
        for number, offered in enumerate(records):
            name = (
                offered.get("scanner") or (offered.get("metadata") or {}).get("scanner")
                if isinstance(offered, dict)
                else None
            )
            about = request.scanners.get(str(name), {})
            record, code = normalise(
                offered, intent=about.get("intent"), logic=about.get("logic"), strict=strict
            )
            if record is not None and not name:
                code = "CANDIDATE_NO_SCANNER"
            if record is None or code is not None:
                rejected.append({"file": path, "index": number, "code": code, "record": str(offered)[:200]})
            else:
                accepted.append(record | {"scanner": str(name)})
    return accepted, rejected


def _counted(rejected: list[dict[str, Any]]) -> list[tuple[str, int]]:
    codes = [str(each["code"]) for each in rejected]
    return [(code, codes.count(code)) for code in sorted(set(codes))]
