"""`data.import`: bars, instrument rules or candidates from files, in one commit, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from quantctl.contracts.canonical import sha256_hex
from quantctl.contracts.errors import ConfigError, DataMissing
from quantctl.contracts.records.coverage import Coverage, offline_coverage
from quantctl.contracts.stage import Finding, Outcome, RunFacts, stage
from quantctl.lake.encoding import encode
from quantctl.lake.snapshot import Lake, Snapshot
from quantctl.lake.sources.files import BarFile, Reading, read_bars, read_document
from quantctl.steps.l1_ingestion.metadata import changes, exchange_info_rows, table
from quantctl.workflows.dataops.bars_commit import BarParams, How, Prepared, prepare
from quantctl.workflows.dataops.candidate_import import import_candidates
from quantctl.workflows.dataops.lineage import base_of, coverage_facts, coverage_recorded, facts_of, midnight
from quantctl.workflows.dataops.requests import ImportRequest

WRITES = ("import_report", "price_ingest_coverage", "candidates_rejected", "candidates_export")


@stage("data.import", writes=WRITES, params=BarParams)
def import_files(
    *, lake: Lake, request: ImportRequest, now: datetime, params: BarParams, run: RunFacts
) -> Outcome:
    """Import files into one table of the lakehouse and publish."""
    if request.table == "instruments":
        return _instruments(lake, request, now, run)
    if request.table == "candidates":
        return import_candidates(lake, request, now, params, run)
    return _bars(lake, request, now, params, run)


def _bars(lake: Lake, request: ImportRequest, now: datetime, params: BarParams, run: RunFacts) -> Outcome:
    reading = Reading(request.mapping, request.exchange, request.close_only)
    files = [read_bars(Path(path), reading) for path in sorted(request.paths)]
    txn = f"{run.run_id}/data.import/bars_1d"
    before = base_of(lake, txn)
    known = facts_of(before).get("imports", {})
    if files and all(file.sha256 in known for file in files):
        return _already(files, known)
    today = now.astimezone(UTC).date()
    how = How(
        as_of=min(request.as_of or today, today - timedelta(days=1)), source="import",
        provenance="reconstructed",
        now=now, known_at=request.known_at, close_only=request.close_only, strict=request.strict,
        given=request.calendar, run_id=run.run_id,
    )  # fmt: skip
    ready = prepare(pl.concat([file.rows for file in files]), how, params, before)
    report = _report(files, ready, request)
    coverage = _coverage(ready, report, params, run, now)
    outputs = {"import_report": report, "price_ingest_coverage": coverage}
    findings = [coverage_recorded("price_ingest_coverage", coverage, run), *_findings(ready)]
    if not ready.accepted:
        error = DataMissing(
            "PRICE_FETCH_ZERO", "not one bar was accepted", remedy="see reports/import_report.json"
        )
        return Outcome(outputs, findings=findings, error=error)

    def facts(known: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "coverage": coverage_facts(known, "price_ingest_coverage", coverage, run),
            "calendars": known.get("calendars", {}) | ready.calendars,
            "imports": known.get("imports", {}) | {file.sha256: run.run_id for file in files},
        }

    snapshot = lake.commit(ready.tables, txn=txn, at=now, published=True, facts=facts)
    metrics = {
        "symbols": len(ready.accepted),
        "bars": ready.tables["bars_1d"].height,
        "snapshot": snapshot.id,
    }
    return Outcome(outputs, findings=findings, metrics=metrics | {"counts": ready.counts})


def _already(files: list[BarFile], known: dict[str, str]) -> Outcome:
    earlier = sorted({known[file.sha256] for file in files})
    finding = Finding(
        level="INFO", code="ALREADY_IMPORTED", message=f"these files were imported by {', '.join(earlier)}"
    )
    report = {"schema_version": 1, "source": "import", "already_imported_by": earlier,
              "files": [{"path": str(file.path), "sha256": file.sha256} for file in files]}  # fmt: skip
    metrics = {"already_imported_by": ", ".join(earlier)}
    return Outcome({"import_report": report}, findings=[finding], metrics=metrics)


def _findings(ready: Prepared) -> list[Finding]:
    """One finding per code with its count; symbols stand in the import report."""
    quiet = ("BAR_DUPLICATE", "BAR_UNFINISHED", "BAR_UNCHANGED")
    return [
        Finding(
            level="INFO" if code in quiet else "WARN",
            code=code,
            message=f"{rows} rows",
            details={"rows": rows},
        )
        for code, rows in sorted(ready.counts.items())
    ]


def _report(files: list[BarFile], ready: Prepared, request: ImportRequest) -> dict[str, Any]:
    return {
        "schema_version": 1, "source": "import", "request": request.model_dump(mode="json",
            exclude={"scanners"}),
        "files": [
            {"path": str(file.path), "sha256": file.sha256, "rows": file.rows.height, "mapping": file.mapping,
             "ignored_columns": file.ignored} for file in files
        ],
        "rows": sum(file.rows.height for file in files), "accepted": ready.tables["bars_1d"].height,
        "symbols": len(ready.symbols), "counts": ready.counts,
        "by_symbol": ready.checked.by_symbol.to_dicts(),
        "calendars": ready.calendars, "last": ready.last.isoformat() if ready.last else None,
    }  # fmt: skip


def _coverage(
    ready: Prepared, report: dict[str, Any], params: BarParams, run: RunFacts, now: datetime
) -> Coverage:
    codes = dict(ready.checked.by_symbol.select("symbol", "code").iter_rows())
    missing = sorted(set(ready.symbols) - set(ready.accepted))
    return offline_coverage(
        run_id=run.run_id, profile=run.profile, stage="price_ingest", source="import", expected=ready.symbols,
        failed={symbol: codes.get(symbol, "BAR_INVALID") for symbol in missing}, started_at=now.isoformat(),
        strict=params.data.strict, evidence_sha256=sha256_hex(encode("import_report", report)[0]),
    )  # fmt: skip


def _instruments(lake: Lake, request: ImportRequest, now: datetime, run: RunFacts) -> Outcome:
    """An `exchangeInfo` reply becomes rows of `execution_metadata`, valid from its server time."""
    if (request.valid_from is None) != (request.reason is None):
        raise ConfigError(
            "IMPORT_COLUMNS", "--valid-from and --reason go together", remedy="give both or none"
        )
    exchange = request.exchange or "BINANCE"
    txn = f"{run.run_id}/data.import/instruments"
    before = base_of(lake, txn)
    stored = before.table("execution_metadata") if before else table([])
    added: list[dict[str, Any]] = []
    files = []
    for path in sorted(request.paths):
        info, sha = read_document(Path(path))
        rows, served = _offered(info, exchange, path)
        start = midnight(request.valid_from) if request.valid_from else served
        added += changes(
            stored, rows, venue=exchange, at=start, known_at=served, complete=len(request.paths) == 1
        )
        files.append({"path": path, "sha256": sha, "symbols": len(rows), "server_time": served.isoformat()})
    snapshot = lake.commit({"execution_metadata": table(added)}, txn=txn, at=now, published=True)
    incomplete = sorted(str(r["symbol"]) for r in added if r["tick_size"] is None or r["lot_size"] is None)
    report = {
        "schema_version": 1, "source": "import", "files": files, "rows": len(added),
        "counts": {"METADATA_INCOMPLETE": len(incomplete)} if incomplete else {}, "incomplete": incomplete,
        "request": request.model_dump(mode="json", exclude={"scanners"}),
    }  # fmt: skip
    return Outcome({"import_report": report}, metrics={"rows": len(added), "snapshot": snapshot.id})


def _offered(info: Any, exchange: str, path: str) -> tuple[list[dict[str, Any]], datetime]:
    try:
        served = datetime.fromtimestamp(int(info["serverTime"]) / 1000, tz=UTC)
        perpetual = any("contractType" in entry for entry in info["symbols"])
        return exchange_info_rows(info, exchange, perpetual=perpetual), served
    except (KeyError, TypeError, ValueError, ArithmeticError) as problem:
        raise ConfigError("IMPORT_FORMAT", f"no exchangeInfo reply: {problem!r}", where=path) from None


def last_session(snapshot: Snapshot, day: date) -> dict[str, date]:
    """Calendar code -> last session at or before `day`."""
    rows = snapshot.sessions(end=day)
    return dict(
        rows.sort("code", "date")
        .unique(["code"], keep="last", maintain_order=True)
        .select("code", "date")
        .iter_rows()
    )
