"""Why a symbol is in or out of a run: one row per decision, from the scan to the weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from quantctl.contracts.records.candidates import PoolRow, RawPool
    from quantctl.contracts.records.foundation import FoundationReport
    from quantctl.contracts.records.selection import SelectionAudit, VetoRow, Winners
    from quantctl.contracts.records.weights import PhysicalPortfolio, PhysicalProfile, SolverPortfolio

Row = dict[str, Any]
EARLIER = ("consolidation", "foundation")  # told from the pool and the foundation report already
VERDICTS = {"HARD": "vetoed", "STRATEGY": "vetoed", "SOFT": "soft veto", "NONE": "not recruited"}


def explain(
    symbol: str,
    *,
    candidates_funnel: pl.DataFrame | None,
    portfolio_candidates_raw: RawPool | None,
    foundation_report: FoundationReport | None,
    selection_audit: SelectionAudit | None,
    portfolio_candidates: Winners | None,
    atoms: pl.DataFrame | None,
    portfolio_optimized_v2: SolverPortfolio | None,
    portfolio_flattened: PhysicalPortfolio | None,
) -> list[Row]:
    """The decisions on `symbol` in the order of the run, each as a plain row.

    A row is {stage, rule, code, value, limit, verdict, message}; value and limit are null where the rule has
    no number. An artifact that the run has not written is null and leaves no row. A symbol that occurs
    nowhere gets one row with verdict `unknown` and code `SYMBOL_UNKNOWN`.
    """
    pool = [row for row in _rows(portfolio_candidates_raw) if row.symbol == symbol]
    found = [
        *_scan(symbol, candidates_funnel),
        *_pool(pool),
        *_alternatives(symbol, portfolio_candidates_raw),
        *_foundation(symbol, foundation_report),
        *_audit({row.atom for row in pool}, selection_audit),
        *_winners(symbol, portfolio_candidates),
        *_solver(_atoms_of(symbol, atoms, portfolio_candidates), portfolio_optimized_v2),
        *_physical(symbol, _atoms_of(symbol, atoms, portfolio_candidates), portfolio_flattened),
    ]
    unknown = _row(
        "run", "snapshot", "unknown", f"{symbol} occurs nowhere in this run", code="SYMBOL_UNKNOWN"
    )
    return found or [unknown]


def _scan(symbol: str, funnel: pl.DataFrame | None) -> Iterator[Row]:
    """How far each scanner let the symbol come."""
    if funnel is None:
        return
    mine = funnel.filter(funnel["symbol"] == symbol).sort("scanner")
    for row in mine.iter_rows(named=True):
        scanner, last = row["scanner"], row["last_rule"]
        if row["code"] is None:
            yield _row("scan", scanner, "passed", f"scanner {scanner} found it a candidate")
            continue
        message = f"scanner {scanner} stopped it after rule {last}"
        yield _row("scan", scanner, "stopped", message, row["code"], row["value"], row["limit"])


def _pool(rows: Iterable[PoolRow]) -> Iterator[Row]:
    for row in rows:
        if not row.vetoes:
            yield _row("selection.ingestion", "pool", "passed", f"{row.atom} is in the pool", None, row.adv)
        for veto in row.vetoes:
            message = f"{row.atom} was kept out of the pool"
            yield _row("selection.ingestion", "pool", "vetoed", message, veto.code, veto.value, veto.limit)


def _alternatives(symbol: str, pool: RawPool | None) -> Iterator[Row]:
    """Listings that stand for the symbol's asset in its place."""
    for row in _rows(pool):
        if symbol in row.implementation_alternatives:
            message = f"{row.atom} stands for the asset; this listing is an alternative"
            yield _row("selection.ingestion", "identity", "represented", message, "IDENTITY_DUPLICATE")


def _foundation(symbol: str, report: FoundationReport | None) -> Iterator[Row]:
    if report is None:
        return
    for drop in report.drops:
        if drop.symbol == symbol:
            message = f"dropped from the returns matrix as {' and '.join(drop.roles) or 'candidate'}"
            yield _row(
                "selection.ingestion", "foundation", "dropped", message, drop.code, drop.value, drop.limit
            )
    roles = report.column_roles.get(symbol, [])
    if roles:
        verdict = "passed" if "pool" in roles else "reference"
        message = f"column of the returns matrix as {' and '.join(roles)}"
        yield _row("selection.ingestion", "foundation", verdict, message)


def _audit(mine: set[str], audit: SelectionAudit | None) -> Iterator[Row]:
    """Vetoes of the symbol's atoms; those of earlier stages are told where they fell."""
    if audit is None:
        return
    for atom in sorted(mine & set(audit.vetoes)):
        for veto in audit.vetoes[atom]:
            if veto.stage not in EARLIER:
                yield _veto(atom, veto)


def _veto(atom: str, veto: VetoRow) -> Row:
    verdict = VERDICTS[veto.class_]
    ranked = veto.class_ == "NONE" and isinstance(veto.value, float)
    message = f"{atom}: eligible, rank {veto.value:g}" if ranked else f"{atom}: {veto.class_} veto"
    return _row("selection.policy", veto.stage, verdict, message, veto.code, veto.value, veto.limit)


def _winners(symbol: str, selected: Winners | None) -> Iterator[Row]:
    for winner in selected.winners if selected is not None else ():
        if winner.symbol == symbol:
            waived = f"; waived {', '.join(winner.waived)}" if winner.waived else ""
            message = (
                f"{winner.atom}: rank {winner.rank} of its leg, cluster {winner.cluster}, alpha score "
                f"{winner.alpha_score:.6g}, admitted at stage {winner.stage_admitted}"
                f"{f' as {winner.note}' if winner.note else ''}{waived}"
            )
            rule = f"stage {winner.stage_admitted}"
            yield _row("selection.policy", rule, "winner", message, None, winner.alpha_score)


def _solver(mine: set[str], solved: SolverPortfolio | None) -> Iterator[Row]:
    """Weight of each of the symbol's atoms, per risk profile."""
    for name, profile in sorted(solved.profiles.items()) if solved is not None else ():
        weights = {asset.Symbol: asset.Weight for asset in profile.assets}
        for atom in sorted(mine):
            verdict = "weighted" if atom in weights else "no weight"
            message = f"{atom} in {name} ({profile.status})"
            yield _row(
                "allocation.optimization", name, verdict, message, profile.reason, weights.get(atom, 0.0),
                profile.constraints.effective_weight_cap,
            )  # fmt: skip


def _physical(symbol: str, mine: set[str], flat: PhysicalPortfolio | None) -> Iterator[Row]:
    for name, profile in sorted(flat.profiles.items()) if flat is not None else ():
        for asset in profile.assets:
            if asset.Symbol == symbol:
                message = f"net weight in {name}, gross {asset.Gross_Weight:.6g}"
                yield _row("allocation.flattening", name, asset.Direction, message, None, asset.Net_Weight)
        yield from _gated(name, mine, profile)


def _gated(name: str, mine: set[str], profile: PhysicalProfile) -> Iterator[Row]:
    """Weight behind a closed gate: whole atoms without a position, and atoms beside held ones."""
    closed = {idle.atom: idle.weight for idle in profile.inactive}
    for asset in profile.assets:
        closed |= {part.atom: part.weight for part in asset.Contributors if part.gate == 0}
    for atom in sorted(mine & set(closed)):
        message = f"the gate of {atom} is closed in {name}: its weight is cash"
        yield _row("allocation.flattening", name, "cash", message, "CASH_FROM_GATE", closed[atom])


def _atoms_of(symbol: str, atoms: pl.DataFrame | None, selected: Winners | None) -> set[str]:
    """The symbol's atoms by the atom table, or by the winners where it does not exist."""
    if atoms is not None:
        return set(atoms.filter(atoms["symbol"] == symbol)["atom"].to_list())
    winners = selected.winners if selected is not None else []
    return {winner.atom for winner in winners if winner.symbol == symbol}


def _rows(pool: RawPool | None) -> list[PoolRow]:
    return pool.rows if pool is not None else []


def _row(
    stage: str,
    rule: str,
    verdict: str,
    message: str,
    code: str | None = None,
    value: float | str | None = None,
    limit: float | str | None = None,
) -> Row:
    return {
        "stage": stage, "rule": rule, "code": code, "value": value, "limit": limit, "verdict": verdict,
        "message": message,
    }  # fmt: skip
