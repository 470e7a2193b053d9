"""Gates of selection: G4 on features and scores, G5 on the number of winners, G6 on enrichment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import polars as pl

from quantctl.contracts.errors import ContractError, GateFailed, QuantError
from quantctl.contracts.frames.features import FEATURES
from quantctl.contracts.records.candidates import RawPool
from quantctl.contracts.records.selection import MetaRow, PortfolioMeta, SelectionAudit, Winner, Winners
from quantctl.contracts.stage import Finding, Judgement, Level, Loaded, RunFacts, gate
from quantctl.steps.l2_selection.filters.veto import veto_class

FLOOR = 15
# Domains of level L1; bounds are inclusive, null is open.
DOMAINS: dict[str, tuple[float | None, float | None]] = {
    **dict.fromkeys(("recommend_all", "recommend_ma", "recommend_other"), (-1.0, 1.0)),
    **dict.fromkeys(("adx_14", "dmp_14", "dmn_14"), (0.0, 100.0)),
    "vol_30": (0.0, None),
}
RSI = "rsi"
FORBIDDEN = ("HARD", "STRATEGY")
RULES = ("tick_size", "lot_size", "price_precision")


@gate("l1_l2", stage="selection.policy", order=1, writes="gate_l1_l2")
def judge_l1_l2(
    features_matrix: Loaded[pl.DataFrame],
    selection_features: Loaded[pl.DataFrame],
    selection_scores: Loaded[pl.DataFrame],
    portfolio_candidates: Loaded[Winners],
    selection_audit: Loaded[SelectionAudit],
    portfolio_candidates_raw: Loaded[RawPool],
    *,
    run: RunFacts,
) -> Judgement:
    """G4: features inside their domains and not from the future, scores in [0, 1], no vetoed winner."""
    inputs: tuple[Loaded[Any], ...] = (
        features_matrix, selection_features, selection_scores, portfolio_candidates, selection_audit,
        portfolio_candidates_raw,
    )  # fmt: skip
    for loaded in inputs:
        if loaded.value is None:
            return _unreadable("L1_L2_PARSE", loaded)
    values: list[Any] = [loaded.value for loaded in inputs]
    store, frame, scores, selected, audit, pool = values
    winners = [winner.atom for winner in selected.winners]
    findings = [
        *_domains(store, "symbol"), *_lookahead(store, "symbol", "date", run.as_of),
        *_domains(frame, "atom"), *_lookahead(frame, "atom", "feature_date", run.as_of),
        *_missing(frame, winners), *_score_range(scores), *_scored(scores, winners),
        *_admitted(selected, audit, pool), *_coverage(audit, pool),
    ]  # fmt: skip
    counted = {"store_rows": store, "features": frame, "scores": scores}
    checked = {name: table.height for name, table in counted.items()}
    return Judgement(findings, checked | {"winners": len(winners), "pool": len(pool.rows)})


def _domains(frame: pl.DataFrame, key: str) -> list[Finding]:
    """One finding per column of `frame` with a value outside its L1 domain, or not finite."""
    bounds = DOMAINS | {name: (0.0, 100.0) for name in frame.columns if name.startswith(RSI)}
    found = []
    for name in (name for name in frame.columns if name in bounds):
        low, high = bounds[name]
        values = frame[name].cast(pl.Float64)
        outside = values.is_nan() | values.is_infinite()
        outside = outside | (values < low) if low is not None else outside
        outside = outside | (values > high) if high is not None else outside
        bad = frame[key].filter(outside.fill_null(value=False)).to_list()
        if bad:
            message = f"{name} of {bad[0]} and {len(bad) - 1} more is outside [{low}, {high}]"
            found.append(_error("FEATURE_OUT_OF_BOUNDS", message, bad[0], column=name, rows=len(bad)))
    return found


def _lookahead(frame: pl.DataFrame, key: str, column: str, as_of: str) -> list[Finding]:
    late = frame.filter(pl.col(column).cast(pl.Date) > date.fromisoformat(as_of))
    return [
        _error("L1_LOOKAHEAD", f"features of {name} are of {day}, after {as_of}", name, date=str(day)[:10])
        for name, day in late.select(key, column).iter_rows()
    ]


def _missing(frame: pl.DataFrame, winners: Sequence[str]) -> list[Finding]:
    """One WARN per feature that is undefined for candidates: how many, and how many of them won."""
    found = []
    for name in FEATURES:
        atoms = frame["atom"].filter(frame[name].is_null()).to_list()
        if atoms:
            won = len(set(atoms) & set(winners))
            message = f"{name} is undefined for {len(atoms)} candidates, {won} of them winners"
            details = {"feature": name, "non_winners": len(atoms) - won, "winners": won}
            found.append(_finding("WARN", "L1_FEATURE_MISSING", message, None, details))
    return found


def _score_range(scores: pl.DataFrame) -> list[Finding]:
    names = ["alpha_score", *(name for name in scores.columns if name.endswith("_prob"))]
    found = []
    for name in names:
        values = scores[name].cast(pl.Float64)
        inside = values.is_between(0.0, 1.0).fill_null(value=False)
        bad = scores["atom"].filter(~inside).to_list()
        if bad:
            message = f"{name} of {bad[0]} and {len(bad) - 1} more is null or outside [0, 1]"
            found.append(_error("L2_SCORE_RANGE", message, bad[0], column=name, rows=len(bad)))
    return found


def _scored(scores: pl.DataFrame, winners: Sequence[str]) -> list[Finding]:
    scored = set(scores["atom"].to_list())
    return [
        _error("L2_WINNER_UNSCORED", f"winner {atom} has no score", atom)
        for atom in winners
        if atom not in scored
    ]


def _admitted(selected: Winners, audit: SelectionAudit, pool: RawPool) -> list[Finding]:
    """A winner that a HARD or STRATEGY veto stands against, in the audit, in the pool or as waived."""
    against: dict[str, list[str]] = {
        row.atom: [veto.code for veto in row.vetoes] for row in pool.rows if row.vetoes
    }
    for atom, rows in audit.vetoes.items():
        against.setdefault(atom, []).extend(row.code for row in rows if row.class_ in FORBIDDEN)
    found = []
    for winner in selected.winners:
        waived = [code for code in winner.waived if veto_class(code) in FORBIDDEN]
        for code in sorted({*against.get(winner.atom, ()), *waived}):
            found.append(
                _error("L2_VETO_ADMITTED", f"winner {winner.atom} carries {code}", winner.atom, veto=code)
            )
    return found


def _coverage(audit: SelectionAudit, pool: RawPool) -> list[Finding]:
    """Every atom of the raw pool stands once in the audit, and nothing else does."""
    listed = Counter([winner.atom for winner in audit.winners] + list(audit.vetoes))
    expected = {row.atom for row in pool.rows}
    wrong = [
        ("is in the pool but not in the audit", sorted(expected - set(listed))),
        ("is in the audit but not in the pool", sorted(set(listed) - expected)),
        ("stands more than once in the audit", sorted(a for a, n in listed.items() if n > 1)),
    ]
    return [
        _error("L2_AUDIT_COVERAGE", f"{atoms[0]} {what} ({len(atoms)} in all)", atoms[0], atoms=atoms[:20])
        for what, atoms in wrong
        if atoms
    ]


@gate("winner_floor", stage="selection.policy", order=2, writes="gate_winners")
def judge_winner_floor(
    portfolio_candidates: Loaded[Winners], selection_audit: Loaded[SelectionAudit], *, run: RunFacts
) -> Judgement:
    """G5: at least one winner; fewer than the floor is typed scarcity."""
    if portfolio_candidates.value is None or selection_audit.value is None:
        broken: Loaded[Any] = portfolio_candidates if portfolio_candidates.value is None else selection_audit
        return _unreadable("WINNER_FLOOR_PARSE", broken)
    winners, audit = portfolio_candidates.value.winners, selection_audit.value
    findings = []
    listed = [winner.atom for winner in audit.winners]
    if sorted(listed) != [winner.atom for winner in winners]:
        message = f"the audit names {len(listed)} winners, the winner set has other {len(winners)}"
        findings.append(_error("L2_AUDIT_COVERAGE", message, None))
    checked = {"winners": len(winners), "pool": len(audit.winners) + len(audit.vetoes)}
    if not winners:
        error = _empty(audit, run)
        return Judgement([*findings, _error(error.code, error.message, None)], checked, error=error)
    return Judgement([*findings, *_scarcity(len(winners), audit)], checked)


def _scarcity(n: int, audit: SelectionAudit) -> list[Finding]:
    floor = audit.scarcity.floor if audit.scarcity else FLOOR
    if n >= floor:
        return []
    level = "SCARCE" if n >= 5 else "ULTRA_SPARSE"
    message = f"{n} winners, the floor is {floor} ({level}); the scarcity fallback allocates"
    return [_finding("WARN", "SCARCITY", message, None, {"n": n, "level": level, "floor": floor})]


def _empty(audit: SelectionAudit, run: RunFacts) -> QuantError:
    counts = Counter(code for rows in audit.vetoes.values() for code in {row.code for row in rows})
    listed = ", ".join(
        f"{code} {n}" for code, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
    return GateFailed(
        "SELECTION_EMPTY",
        f"no winner of {run.profile} at {run.as_of} in {len(audit.vetoes)} candidates ({listed or 'none'})",
        where="data/selection_audit.json",
        remedy=f"quantctl explain {run.run_id} SYMBOL",
        details={"vetoes_by_code": dict(sorted(counts.items()))},
    )


@gate("enrichment", stage="selection.enrichment", order=1, writes="gate_enrichment")
def judge_enrichment(
    portfolio_candidates: Loaded[Winners], portfolio_meta: Loaded[PortfolioMeta]
) -> Judgement:
    """G6: enrichment kept set, order and direction of the winners, and each can be traded."""
    if portfolio_candidates.value is None or portfolio_meta.value is None:
        broken: Loaded[Any] = portfolio_candidates if portfolio_candidates.value is None else portfolio_meta
        return _unreadable("ENRICHMENT_PARSE", broken)
    winners, rows = portfolio_candidates.value.winners, portfolio_meta.value.rows
    findings = [*_set_changed(winners, rows), *_incomplete(rows)]
    return Judgement(findings, {"winners": len(winners), "rows": len(rows)})


def _set_changed(winners: Sequence[Winner], rows: Sequence[MetaRow]) -> list[Finding]:
    before, after = _identities(winners), _identities(rows)
    if before == after:
        return []
    lost, gained = sorted(set(before) - set(after)), sorted(set(after) - set(before))
    message = f"enrichment lost {len(lost)} and added {len(gained)} of {len(before)} winners"
    if not lost and not gained:
        message = (
            "enrichment repeats winners" if len(before) != len(after) else "enrichment changed the order"
        )
    details = {"lost": [row[0] for row in lost[:20]], "added": [row[0] for row in gained[:20]]}
    first = [row[0] for row in lost + gained]
    return [_finding("ERROR", "ENRICHMENT_SET_CHANGED", message, first[0] if first else None, details)]


def _identities(rows: Iterable[Winner]) -> list[tuple[str, str, str, str]]:
    return [(row.atom, row.symbol, row.logic, row.direction) for row in rows]


def _incomplete(rows: Iterable[MetaRow]) -> list[Finding]:
    found = []
    for row in rows:
        missing = [name for name in RULES if getattr(row, name) is None]
        if missing:
            message = f"{row.symbol} has no {', '.join(missing)}"
            found.append(_error("METADATA_INCOMPLETE", message, row.symbol, missing=missing))
    return found


def _unreadable(code: str, loaded: Loaded[Any]) -> Judgement:
    finding = _error(code, f"{loaded.path} is {loaded.problem}: {loaded.detail}", None)
    error = ContractError(code, finding.message, where=loaded.path)
    return Judgement([finding], {"inputs": 0}, error=error)


def _error(code: str, message: str, symbol: str | None, **details: Any) -> Finding:
    return _finding("ERROR", code, message, symbol, details)


def _finding(level: Level, code: str, message: str, symbol: str | None, details: dict[str, Any]) -> Finding:
    return Finding(level=level, code=code, message=message, symbol=symbol, details=details)
