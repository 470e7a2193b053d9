"""The directional sign test: direction was corrected once, in the right place, for the right atoms.

It runs after synthesis and again after optimisation, and an audit repeats it on the files of the run.
What cannot be checked is a failure. Names are never parsed.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from quantctl.contracts.settings.sleeve import SleeveSettings
from quantctl.contracts.settings.synthesis import SynthesisSettings
from quantctl.contracts.stage import Finding, Judgement, Loaded, StageParams, gate
from quantctl.steps.l3_synthesis.sign_optimizer import check_optimizer
from quantctl.steps.l3_synthesis.sign_relation import Columns, check_atom

ATOL = 0.0


class SignTestParams(StageParams):
    """The sleeve's intent and the gate windows."""

    sleeve: SleeveSettings
    synthesis: SynthesisSettings


@gate(
    "sign_test.pre_opt", stage="selection.synthesis", order=2, writes="sign_test_pre_opt",
    params=SignTestParams, sign=True,
)  # fmt: skip
def sign_test_pre_opt(
    synthetic_returns: Loaded[pl.DataFrame],
    returns_matrix: Loaded[pl.DataFrame],
    atoms: Loaded[pl.DataFrame],
    synthetic_gates: Loaded[pl.DataFrame],
    portfolio_candidates: Loaded[Any],
    params: SignTestParams,
) -> Judgement:
    """Re-derive every stream from the raw returns, the atom table and the gate panel."""
    findings, checked = _streams(
        synthetic_returns, returns_matrix, atoms, synthetic_gates, portfolio_candidates, params
    )
    return _judgement(findings, checked)


@gate(
    "sign_test.post_opt", stage="allocation.optimization", order=2, writes="sign_test",
    params=SignTestParams, sign=True,
)  # fmt: skip
def sign_test_post_opt(
    synthetic_returns: Loaded[pl.DataFrame],
    returns_matrix: Loaded[pl.DataFrame],
    atoms: Loaded[pl.DataFrame],
    synthetic_gates: Loaded[pl.DataFrame],
    portfolio_candidates: Loaded[Any],
    portfolio_optimized_v2: Loaded[Any],
    params: SignTestParams,
) -> Judgement:
    """Repeat the test after optimisation, and hold the solver's weights to the synthetic space."""
    findings, checked = _streams(
        synthetic_returns, returns_matrix, atoms, synthetic_gates, portfolio_candidates, params
    )
    ids = set(atoms.value["atom"]) if atoms.value is not None else set()
    found, counts = check_optimizer(portfolio_optimized_v2, ids)
    return _judgement(findings + found, checked | counts)


def _judgement(findings: list[Finding], checked: dict[str, int]) -> Judgement:
    extra = {"atol": ATOL, "n_atoms": checked["atoms"], "n_rows": checked["rows"]}
    return Judgement(findings, checked, extra)


def _streams(
    synthetic: Loaded[pl.DataFrame],
    raw: Loaded[pl.DataFrame],
    atoms: Loaded[pl.DataFrame],
    gates: Loaded[pl.DataFrame],
    winners: Loaded[Any],
    params: SignTestParams,
) -> tuple[list[Finding], dict[str, int]]:
    counts = dict.fromkeys(("atoms", "long_atoms", "short_atoms", "gated_atoms", "rows"), 0)
    counts |= {"risk_profiles": 0, "optimizer_rows": 0}
    unread = _unread(synthetic, raw, atoms, gates)
    if unread:
        return unread, counts
    assert synthetic.value is not None
    assert raw.value is not None
    assert atoms.value is not None
    assert gates.value is not None
    findings = [
        *_empty(synthetic.value, raw.value),
        *_mapping(synthetic.value, gates.value, atoms.value),
        *_intent(atoms.value, params.sleeve.direction),
        *_winner_set(atoms.value, winners),
    ]
    relation, examined = _relations(synthetic.value, raw.value, atoms.value, gates.value, params.synthesis)
    findings += relation
    if not examined and not findings:
        findings.append(_error("SIGNTEST_NO_ATOMS", "no atom was examined"))
    elif atoms.value.is_empty():
        findings.append(_error("SIGNTEST_NO_ATOMS", "the atom table has no row"))
    return findings, counts | _counts(examined, synthetic.value.height)


def _unread(*inputs: Loaded[pl.DataFrame]) -> list[Finding]:
    codes = ("SYNTHETIC", "RAW", "ATOMS", "GATES")
    return [
        _error(f"SIGNTEST_MISSING_{code}", f"{loaded.path} is {loaded.problem}: {loaded.detail}")
        for code, loaded in zip(codes, inputs, strict=True)
        if loaded.value is None
    ]


def _empty(synthetic: pl.DataFrame, raw: pl.DataFrame) -> list[Finding]:
    return [
        _error(f"SIGNTEST_EMPTY_{code}", f"{frame.height} rows and {frame.width - 1} columns")
        for code, frame in (("SYNTHETIC", synthetic), ("RAW", raw))
        if frame.height == 0 or frame.width <= 1
    ]


def _mapping(synthetic: pl.DataFrame, gates: pl.DataFrame, atoms: pl.DataFrame) -> list[Finding]:
    known = set(atoms["atom"])
    streams, panel = set(synthetic.columns[1:]), set(gates.columns[1:])
    found = [
        _error("SIGNTEST_UNMAPPED_ATOM", "a column without a row in the atom table", name)
        for name in sorted((streams | panel) - known)
    ]
    found += [
        _error("SIGNTEST_UNMAPPED_ATOM", "a row of the atom table without a stream", name)
        for name in sorted(known - streams)
    ]
    return found + [
        _error("SIGNTEST_MISSING_GATES", "an atom without a column in the gate panel", name)
        for name in sorted(known - panel)
    ]


def _intent(atoms: pl.DataFrame, intent: str) -> list[Finding]:
    if intent == "MIXED":
        return []
    return [
        _error("SIGNTEST_INTENT_MISMATCH", f"a {direction} atom in a {intent} sleeve", atom)
        for atom, direction in atoms.select("atom", "direction").iter_rows()
        if direction != intent
    ]


def _winner_set(atoms: pl.DataFrame, winners: Loaded[Any]) -> list[Finding]:
    if winners.value is None:
        return [_error("SIGNTEST_WINNER_SET", f"{winners.path} is {winners.problem}: {winners.detail}")]
    held = set(atoms.select("symbol", "logic", "direction").iter_rows())
    chosen = {(w.symbol, w.logic, w.direction) for w in winners.value.winners}
    if held == chosen:
        return []
    details = {"not_won": _listed(held - chosen), "not_held": _listed(chosen - held)}
    return [_error("SIGNTEST_WINNER_SET", "atoms are not the winners of the selection", None, **details)]


def _listed(rows: set[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(row) for row in sorted(rows)]


def _relations(
    synthetic: pl.DataFrame,
    raw: pl.DataFrame,
    atoms: pl.DataFrame,
    gates: pl.DataFrame,
    settings: SynthesisSettings,
) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Findings of index and columns, and the table rows of the atoms that were really examined."""
    if synthetic.height == 0 or raw.height == 0 or atoms.is_empty():
        return [], []
    dates = synthetic["date"]
    broken = _index(dates, raw["date"], gates["date"], int(atoms["warmup_bars"].max()))  # type: ignore[arg-type]
    if broken:
        return broken, []
    findings, examined = [], []
    for row in atoms.sort("atom").iter_rows(named=True):
        if row["symbol"] not in raw.columns:
            message = f"symbol {row['symbol']} is not in the returns matrix"
            findings.append(_error("SIGNTEST_MISSING_PHYSICAL_COL", message, row["atom"]))
        elif row["atom"] in synthetic.columns and row["atom"] in gates.columns:
            name, symbol = row["atom"], row["symbol"]
            findings += check_atom(Columns(row, dates, synthetic[name], gates[name], raw[symbol]), settings)
            examined.append(row)
    return findings, examined


def _index(dates: pl.Series, raw: pl.Series, gates: pl.Series, warmup: int) -> list[Finding]:
    """The streams have the raw dates without the recorded leading warm-up, and the gates the same."""
    suffix = raw.slice(warmup)
    if not _same(dates, suffix):
        message = f"{dates.len()} stream dates are not the raw dates without the first {warmup}"
        return [_error("SIGNTEST_INDEX_MISMATCH", message, None, stream_rows=dates.len(), raw_rows=raw.len())]
    if not _same(dates, gates):
        return [_error("SIGNTEST_INDEX_MISMATCH", "gate panel and streams differ in their dates")]
    return []


def _same(one: pl.Series, other: pl.Series) -> bool:
    return one.dtype == other.dtype and one.len() == other.len() and one.equals(other)


def _counts(examined: list[dict[str, Any]], rows: int) -> dict[str, int]:
    longs = sum(row["direction"] == "LONG" for row in examined)
    return {
        "atoms": len(examined),
        "long_atoms": longs,
        "short_atoms": len(examined) - longs,
        "gated_atoms": sum(bool(row["gated"]) for row in examined),
        "rows": rows if examined else 0,
    }


def _error(code: str, message: str, symbol: str | None = None, **details: Any) -> Finding:
    return Finding(level="ERROR", code=code, message=message, symbol=symbol, details=details)
