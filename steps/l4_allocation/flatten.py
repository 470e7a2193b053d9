"""Flattening: weights of atoms become positions in symbols, behind the gate of the next bar.

Per risk profile, atom weights w ≥ 0, last-bar gates g ∈ {0, 1}, factors f = ±1:

    Weight_s = Σ_{a of s} w_a g_a |f_a|,   Net_Weight_s = Σ_{a of s} w_a g_a f_a,
    Netting_s = Weight_s − |Net_Weight_s|,   gated_cash = Σ_a w_a (1 − g_a)

Gated weight is never spread over other atoms: the solver priced the gated stream, so an atom whose
gate is off is cash, and is declared as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum
from typing import Any, NamedTuple

import polars as pl

from quantctl.contracts.errors import ContractError
from quantctl.contracts.records import weights as records
from quantctl.contracts.stage import Finding, Outcome, RunFacts, stage

FLAT = 1e-12
FACTORS = {"LONG": 1, "SHORT": -1}


class AtomRow(NamedTuple):
    """What flattening needs of an atom; all of it comes from the table, nothing from the id."""

    symbol: str
    factor: int
    gate: int


@stage("allocation.flattening", writes=("portfolio_flattened",))
def flatten(
    portfolio_optimized_v2: records.SolverPortfolio,
    atoms: pl.DataFrame,
    input_hashes: dict[str, str],
    run: RunFacts,
) -> Outcome:
    """Turn atom weights into net and gross positions per symbol.

    Raises `FLATTEN_UNKNOWN_ATOM`, `FLATTEN_FACTOR`, `FLATTEN_GATE` (exit 1). A profile with every gate off
    gets status ALL_CASH, which the gate admits only under `allocation.allow_all_cash`.
    """
    source = portfolio_optimized_v2
    table = atom_rows(atoms)
    profiles = {name: flatten_profile(profile, table) for name, profile in source.profiles.items()}
    hashed = {"portfolio_optimized_v2": input_hashes["portfolio_optimized_v2"]}
    portfolio = records.PhysicalPortfolio(
        run_id=run.run_id,
        profile=source.profile,
        trace_id=run.trace_id,
        as_of=source.as_of,
        annualisation=source.annualisation,
        inputs=source.inputs | hashed,
        cluster_registry={},
        optimization=source.optimization,
        metadata=source.metadata.model_copy(update={"flattened": True}),
        profiles=profiles,
    )
    return Outcome(
        outputs={"portfolio_flattened": portfolio},
        findings=_findings(profiles),
        metrics={"profiles": len(profiles), "run_id": run.run_id},
    )


def atom_rows(atoms: pl.DataFrame) -> dict[str, AtomRow]:
    """The atom table by id; its factor must agree with its direction, its gate must be 0 or 1."""
    rows = {}
    for row in atoms.select("atom", "symbol", "direction", "factor", "deploy_gate").iter_rows(named=True):
        if FACTORS.get(row["direction"]) != row["factor"]:
            raise ContractError(
                "FLATTEN_FACTOR", f"{row['atom']}: factor {row['factor']} for {row['direction']}",
                where=f"atoms:factor:{row['atom']}",
            )  # fmt: skip
        if row["deploy_gate"] not in (0, 1):
            raise ContractError(
                "FLATTEN_GATE", f"{row['atom']}: deploy_gate {row['deploy_gate']}",
                where=f"atoms:deploy_gate:{row['atom']}",
            )  # fmt: skip
        rows[row["atom"]] = AtomRow(row["symbol"], row["factor"], row["deploy_gate"])
    return rows


def flatten_profile(profile: records.SolverProfile, table: Mapping[str, AtomRow]) -> records.PhysicalProfile:
    """Positions of one risk profile. Sums are correctly rounded, so they do not depend on order."""
    by_symbol: dict[str, list[records.SolverAsset]] = {}
    for asset in sorted(profile.assets, key=lambda a: a.Symbol):
        if asset.Symbol not in table:
            raise ContractError("FLATTEN_UNKNOWN_ATOM", f"{asset.Symbol} is not in the atom table",
                                where=asset.Symbol)  # fmt: skip
        by_symbol.setdefault(table[asset.Symbol].symbol, []).append(asset)
    rows = [position(symbol, held, table) for symbol, held in by_symbol.items()]
    kept = sorted((r for r in rows if r.Weight > 0.0), key=lambda r: (-abs(r.Net_Weight), r.Symbol))
    inactive = [
        records.Inactive(atom=a.Symbol, weight=a.Weight)
        for a in sorted(profile.assets, key=lambda a: a.Symbol)
        if table[a.Symbol].gate == 0
    ]
    all_cash = bool(profile.assets) and not kept
    return records.PhysicalProfile(
        status="ALL_CASH" if all_cash else profile.status,
        reason="ALL_CASH" if all_cash else profile.reason,
        fallback_chain=profile.fallback_chain,
        assets=kept,
        inactive=inactive,
        totals=totals(kept, inactive, profile.totals.cash),
    )


def position(
    symbol: str, held: Sequence[records.SolverAsset], table: Mapping[str, AtomRow]
) -> records.PhysicalAsset:
    """Gross, net and netting of one symbol; its cluster is that of its largest contributor."""
    signed = [a.Weight * table[a.Symbol].gate * table[a.Symbol].factor for a in held]
    gross, net = fsum(abs(w) for w in signed), fsum(signed)
    lead = min(held, key=lambda a: (-a.Weight, a.Symbol))
    return records.PhysicalAsset(
        Symbol=symbol,
        Weight=gross,
        Gross_Weight=gross,
        Net_Weight=net,
        Netting=max(gross - abs(net), 0.0),
        Direction="LONG" if net > FLAT else "SHORT" if net < -FLAT else "FLAT",
        Contributors=[
            records.Contributor(
                atom=a.Symbol, weight=a.Weight, factor=_sign(table[a.Symbol]), gate=_gate(table[a.Symbol])
            )
            for a in held
        ],
        Cluster_ID=lead.Cluster_ID,
        Description=lead.Description,
        Sector=lead.Sector,
        Market=lead.Market,
    )


def totals(
    rows: Sequence[records.PhysicalAsset], inactive: Sequence[records.Inactive], cash: float
) -> records.PhysicalTotals:
    """Sums over the positions; `self_financing_cash` is what the simulator holds after trading."""
    net = fsum(row.Net_Weight for row in rows)
    return records.PhysicalTotals(
        gross=fsum(row.Weight for row in rows),
        net=net,
        abs_net=fsum(abs(row.Net_Weight) for row in rows),
        netting=fsum(row.Netting for row in rows),
        cash=cash,
        gated_cash=fsum(atom.weight for atom in inactive),
        self_financing_cash=1.0 - net,
        n_assets=len(rows),
        long_gross=fsum(_leg(row, 1) for row in rows),
        short_gross=fsum(_leg(row, -1) for row in rows),
    )


def _leg(row: records.PhysicalAsset, factor: int) -> float:
    return fsum(c.weight * c.gate for c in row.Contributors if c.factor == factor)


def _sign(row: AtomRow) -> Any:
    return row.factor


def _gate(row: AtomRow) -> Any:
    return row.gate


def _findings(profiles: Mapping[str, records.PhysicalProfile]) -> list[Finding]:
    found = []
    for name, profile in profiles.items():
        if profile.status == "ALL_CASH":
            found.append(Finding(level="WARN", code="ALL_CASH", message=f"{name}: every gate is off",
                                 details={"profile": name}))  # fmt: skip
        if profile.totals.gated_cash > 0.0:
            found.append(
                Finding(
                    level="INFO", code="CASH_FROM_GATE",
                    message=f"{name}: {profile.totals.gated_cash:.4g} is cash because gates are off",
                    details={"profile": name, "gated_cash": profile.totals.gated_cash,
                             "atoms": len(profile.inactive)},
                )
            )  # fmt: skip
    return found
