"""Gates of recruitment: G2 on the candidates, G3 on the numbers of the returns matrix (L0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.errors import ContractError, DataMissing, DataUnhealthy, QuantError
from quantctl.contracts.ids import atom_id, exchange_of, is_symbol
from quantctl.contracts.records.candidates import PoolRow, RawPool
from quantctl.contracts.records.foundation import FoundationReport
from quantctl.contracts.settings.data import DataSettings
from quantctl.contracts.stage import Finding, Judgement, Level, Loaded, RunFacts, StageParams, gate

Matrix = NDArray[np.float64]
TOXIC_RETURN = 5.0
LARGE_MOVE = 1.0
ZERO_RUN = 5
CONTINUOUS = "24x7"
DATE = pl.Datetime("ns", "UTC")


class L0Params(StageParams):
    """Floors of the matrix and the calendars of its symbols."""

    data: DataSettings


@gate("candidates", stage="selection.ingestion", order=1, writes="gate_candidates")
def judge_candidates(portfolio_candidates_raw: Loaded[RawPool], *, run: RunFacts) -> Judgement:
    """G2: every record of the pool is canonical."""
    if portfolio_candidates_raw.value is None:
        return _unreadable("CANDIDATES_PARSE", portfolio_candidates_raw)
    rows = portfolio_candidates_raw.value.rows
    findings = [finding for row in rows for finding in _record(row)]
    atoms = [row.atom for row in rows]
    findings += [
        _finding("ERROR", "L1_CANDIDATE_SCHEMA", f"{atom} stands twice", atom)
        for atom in sorted({atom for atom in atoms if atoms.count(atom) > 1})
    ]
    error = None
    if not rows:
        findings.append(_finding("ERROR", "CANDIDATES_EMPTY", "the pool has no rows"))
        error = _no_candidates(run)
    return Judgement(findings, {"rows": len(rows)}, error=error)


def _record(row: PoolRow) -> list[Finding]:
    problems = []
    if not is_symbol(row.symbol):
        problems.append("symbol is not EXCHANGE:SYMBOL")
    elif row.exchange != exchange_of(row.symbol):
        problems.append(f"exchange {row.exchange!r} is not the prefix")
    if row.direction not in ("LONG", "SHORT"):
        problems.append(f"direction {row.direction!r}")
    if not row.asset_type:
        problems.append("asset type is empty")
    if row.atom != atom_id(row.symbol, row.logic, row.direction):
        problems.append("atom id does not belong to symbol, logic and direction")
    return [_finding("ERROR", "L1_CANDIDATE_SCHEMA", f"{row.atom}: {p}", row.atom) for p in problems]


@gate("l0", stage="selection.ingestion", order=2, writes="gate_l0", params=L0Params)
def judge_l0(
    returns_matrix: Loaded[pl.DataFrame],
    foundation_report: Loaded[FoundationReport],
    lake_sessions: pl.DataFrame,
    *,
    params: L0Params,
    run: RunFacts,
) -> Judgement:
    """G3: the numbers of the returns matrix, pool and reference columns alike."""
    if returns_matrix.value is None or foundation_report.value is None:
        broken: Loaded[Any] = returns_matrix if returns_matrix.value is None else foundation_report
        return _unreadable("L0_PARSE", broken)
    frame, report = returns_matrix.value, foundation_report.value
    symbols = [name for name in frame.columns if name != "date"]
    if not symbols or not report.columns("pool"):
        empty = _finding("ERROR", "L0_NOTHING_CHECKED", "no pool asset survived the foundation rules")
        return Judgement([empty], {"columns": len(symbols), "rows": 0}, error=_empty(report, run))
    values = frame.select(symbols).to_numpy().astype(np.float64)
    findings = [
        *_index(frame), *_duplicates(frame, symbols), *_numbers(frame, symbols, values),
        *_length(frame, params.data), *_calendar(frame, symbols, lake_sessions, params.data),
        *_sparse(report),
    ]  # fmt: skip
    return Judgement(findings, {"columns": len(symbols), "rows": frame.height}, error=_invalid(findings))


def _index(frame: pl.DataFrame) -> list[Finding]:
    dates = frame["date"]
    if dates.dtype != DATE:
        return [_finding("ERROR", "L0_INDEX", f"date is {dates.dtype}, not Datetime(ns, UTC)")]
    physical = dates.to_physical().to_numpy()
    problems = []
    if np.any(physical % 86_400_000_000_000):
        problems.append("a date is not UTC midnight")
    steps = np.diff(physical)
    if np.any(steps < 0):
        problems.append("dates do not increase")
    return [_finding("ERROR", "L0_INDEX", problem) for problem in problems]


def _duplicates(frame: pl.DataFrame, symbols: Sequence[str]) -> list[Finding]:
    repeated = frame.height - frame["date"].n_unique()
    columns = len(symbols) - len(set(symbols))
    if not repeated and not columns:
        return []
    return [_finding("ERROR", "L0_DUPLICATE", f"{repeated} repeated dates, {columns} repeated columns")]


def _numbers(frame: pl.DataFrame, symbols: Sequence[str], values: Matrix) -> list[Finding]:
    bad = ~np.isfinite(values)
    findings = _cells(frame, symbols, bad, "ERROR", "L0_NONFINITE", "null, NaN or infinite")
    clean = np.where(bad, 0.0, values)
    findings += _cells(frame, symbols, np.abs(clean) > TOXIC_RETURN, "ERROR", "L0_TOXIC", "beyond 5.0")
    findings += _cells(frame, symbols, clean < -1.0, "ERROR", "L0_BELOW_MINUS_ONE", "below -1")
    large = (np.abs(clean) > LARGE_MOVE) & (np.abs(clean) <= TOXIC_RETURN)
    findings += _cells(frame, symbols, large, "WARN", "L0_LARGE_MOVE", "beyond 1.0")
    constant = np.ptp(clean, axis=0) == 0
    findings += [
        _finding("ERROR", "L0_CONSTANT", f"{symbol} has no variance", symbol)
        for symbol, flat in zip(symbols, constant, strict=True)
        if flat
    ]
    return findings + _zero_runs(symbols, clean)


def _cells(
    frame: pl.DataFrame, symbols: Sequence[str], mask: NDArray[np.bool_], level: Level, code: str, what: str
) -> list[Finding]:
    """One finding per offending column: how many rows, and the first date."""
    found = []
    for column in np.flatnonzero(mask.any(axis=0)).tolist():
        rows = np.flatnonzero(mask[:, column])
        first = str(frame["date"][int(rows[0])])[:10]
        message = f"{symbols[column]}: {rows.size} returns {what}, first at {first}"
        details = {"count": int(rows.size), "first": first}
        found.append(_finding(level, code, message, symbols[column], details))
    return found


def _zero_runs(symbols: Sequence[str], values: Matrix) -> list[Finding]:
    zero = values == 0.0
    longest = np.zeros(values.shape[1], dtype=np.int64)
    current = np.zeros(values.shape[1], dtype=np.int64)
    for row in zero:
        current = np.where(row, current + 1, 0)
        longest = np.maximum(longest, current)
    return [
        _finding("WARN", "L0_ZERO_RUN", f"{symbol}: {n} exact zeros in a row", symbol, {"count": int(n)})
        for symbol, n in zip(symbols, longest, strict=True)
        if n >= ZERO_RUN
    ]


def _length(frame: pl.DataFrame, data: DataSettings) -> list[Finding]:
    if frame.height >= data.min_days_floor:
        return []
    message = f"{frame.height} rows, data.min_days_floor is {data.min_days_floor}"
    return [_finding("ERROR", "L0_TOO_SHORT", message, details={"rows": frame.height})]


def _calendar(
    frame: pl.DataFrame, symbols: Sequence[str], sessions: pl.DataFrame, data: DataSettings
) -> list[Finding]:
    """Rows on a date that is no session of an exchange-calendar column."""
    codes = {data.calendars.get(exchange_of(symbol), CONTINUOUS) for symbol in symbols} - {CONTINUOUS}
    days = set(frame["date"].dt.date().to_list())
    found = []
    for code in sorted(codes):
        known = set(sessions.filter(pl.col("code") == code)["date"].to_list())
        padded = sorted(days - known)
        if padded:
            message = f"{len(padded)} rows are no session of {code}, first {padded[0]}"
            found.append(_finding("ERROR", "L0_PADDED_CALENDAR", message, details={"count": len(padded)}))
    return found


def _sparse(report: FoundationReport) -> list[Finding]:
    return [
        _finding("WARN", "L0_SPARSE_DROPPED", f"{drop.symbol} was dropped for gaps", drop.symbol)
        for drop in report.drops
        if drop.code == "GAP_EXCESS"
    ]


def _invalid(findings: Sequence[Finding]) -> QuantError | None:
    errors = sorted((f for f in findings if f.level == "ERROR"), key=Finding.sort_key)
    if not errors:
        return None
    return DataUnhealthy(
        "FOUNDATION_INVALID", f"{errors[0].code}: {errors[0].message}", where="data/returns_matrix.parquet",
        remedy="quantctl data audit shows which bars are wrong",
        details={"codes": [f.code for f in errors[:20]]},
    )  # fmt: skip


def _empty(report: FoundationReport, run: RunFacts) -> QuantError:
    counts: dict[str, int] = {}
    for drop in report.drops:
        counts[drop.code] = counts.get(drop.code, 0) + 1
    listed = ", ".join(f"{code} {n}" for code, n in sorted(counts.items())) or "no candidates"
    return DataMissing(
        "FOUNDATION_EMPTY", f"no pool asset survived the foundation rules at {run.as_of} ({listed})",
        where="data/foundation_report.json", remedy=f"quantctl show {run.run_id} foundation_report",
    )  # fmt: skip


def _no_candidates(run: RunFacts) -> QuantError:
    return DataMissing(
        "CANDIDATES_EMPTY", f"no candidates of {run.profile} at {run.as_of}",
        remedy=f"quantctl data candidates --profile {run.profile} --as-of {run.as_of}",
    )  # fmt: skip


def _unreadable(code: str, loaded: Loaded[Any]) -> Judgement:
    finding = _finding("ERROR", code, f"{loaded.path} is {loaded.problem}: {loaded.detail}")
    error = ContractError(code, finding.message, where=loaded.path)
    return Judgement([finding], {"columns": 0}, error=error)


def _finding(
    level: Level, code: str, message: str, symbol: str | None = None, details: dict[str, Any] | None = None
) -> Finding:
    return Finding(level=level, code=code, message=message, symbol=symbol, details=details or {})
