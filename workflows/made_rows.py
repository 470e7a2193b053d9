"""Rows of the SQL surface that are made from artifacts: the scan, the pool, vetoes and weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.canonical import parse_strict
from quantctl.contracts.errors import QuantError
from quantctl.lake import artifact_index
from quantctl.lake.state import Reader

Rows = list[tuple[Any, ...]]
_WEIGHTS = {"synthetic": "portfolio_optimized_v2", "physical": "portfolio_flattened"}
_SCANNED = """SELECT ?, scanner, symbol, last_rule, code, value, "limit" FROM read_parquet(?)
ORDER BY scanner, symbol"""


class Artifacts:
    """The artifacts of a run that its ledger names; a file that no record names yet has no rows."""

    def __init__(self, connection: Reader, root: Path, run_id: str) -> None:
        self.run_id = run_id
        self.root = root
        self.booked = {row["name"] for row in artifact_index.rows(connection, run_id)}
        self._read: dict[str, dict[str, Any]] = {}

    def document(self, name: str) -> dict[str, Any]:
        """A JSON artifact, read once; an absent or unreadable one gives no rows."""
        if name not in self._read:
            path = self.path(name)
            try:
                self._read[name] = parse_strict(path.read_bytes()) if path else {}
            except (FileNotFoundError, QuantError):
                self._read[name] = {}
        return self._read[name]

    def path(self, name: str) -> Path | None:
        """Where a booked artifact lies."""
        return self.root / ARTIFACTS[name].path if name in self.booked else None


def made_rows(connection: Reader, root: Path, run_id: str) -> dict[str, Rows]:
    """Table -> rows, from the artifacts of the run that are booked.

    root : directory of the run
    """
    artifacts = Artifacts(connection, root, run_id)
    return {
        "scanned": _scanned(artifacts),
        "vetoes": _vetoes(artifacts),
        "winners": _winners(artifacts),
        "allocations": _allocations(artifacts),
        "weights": _weights(artifacts),
    }


def _scanned(artifacts: Artifacts) -> Rows:
    path = artifacts.path("candidates_funnel")
    if path is None or not path.exists():
        return []
    import duckdb

    try:
        with duckdb.connect(config={"threads": 1}) as reader:
            return reader.execute(_SCANNED, [artifacts.run_id, str(path)]).fetchall()
    except duckdb.Error:
        return []


def _vetoes(artifacts: Artifacts) -> Rows:
    run_id = artifacts.run_id
    pool = artifacts.document("portfolio_candidates_raw").get("rows", [])
    symbols = {row["atom"]: row["symbol"] for row in pool}
    rows: Rows = [
        (run_id, "identity", "identity", None, other, row["atom"], "IDENTITY_DUPLICATE", "HARD", None, None)
        for row in pool for other in row["implementation_alternatives"]
    ]  # fmt: skip
    rows += [
        (
            run_id,
            "foundation",
            "foundation",
            None,
            drop["symbol"],
            None,
            drop["code"],
            "HARD",
            *_numbers(drop),
        )
        for drop in artifacts.document("foundation_report").get("drops", [])
    ]
    for atom, vetoes in sorted(artifacts.document("selection_audit").get("vetoes", {}).items()):
        symbol = symbols.get(atom)
        rows += [
            (run_id, "selection", v["stage"], None, symbol, atom, v["code"], v["class"], *_numbers(v))
            for v in vetoes
        ]
    flat = artifacts.document("portfolio_flattened").get("profiles", {})
    for profile, body in sorted(flat.items()):
        rows += [
            (run_id, "flattening", "gate", profile, symbols.get(atom), atom, "CASH_FROM_GATE", "HARD", weight,
             None)
            for atom, weight in sorted(_behind_gates(body).items())
        ]  # fmt: skip
    return rows


def _behind_gates(profile: dict[str, Any]) -> dict[str, float]:
    """Atom -> weight that a closed gate turned into cash."""
    closed = {idle["atom"]: idle["weight"] for idle in profile["inactive"]}
    for asset in profile["assets"]:
        closed |= {part["atom"]: part["weight"] for part in asset["Contributors"] if part["gate"] == 0}
    return closed


def _winners(artifacts: Artifacts) -> Rows:
    names = ("symbol", "atom", "logic", "direction", "cluster", "rank", "alpha_score", "stage_admitted")
    winners = artifacts.document("portfolio_candidates").get("winners", [])
    return [(artifacts.run_id, *(winner[name] for name in names)) for winner in winners]


def _allocations(artifacts: Artifacts) -> Rows:
    return [
        (artifacts.run_id, space, profile, body["status"], body.get("reason"),
         *(body["totals"][name] for name in ("gross", "net", "cash", "n_assets")))
        for space, profile, body in _profiles(artifacts)
    ]  # fmt: skip


def _weights(artifacts: Artifacts) -> Rows:
    return [
        (artifacts.run_id, space, profile, body["status"], asset["Symbol"], asset["Weight"],
         asset["Net_Weight"], asset["Direction"], asset.get("Cluster_ID"), asset.get("Type"))
        for space, profile, body in _profiles(artifacts) for asset in body["assets"]
    ]  # fmt: skip


def _profiles(artifacts: Artifacts) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(space, risk profile, its body), solver space first."""
    for space, name in _WEIGHTS.items():
        for profile, body in sorted(artifacts.document(name).get("profiles", {}).items()):
            yield space, profile, body


def _numbers(row: dict[str, Any]) -> tuple[float | None, float | None]:
    return _number(row.get("value")), _number(row.get("limit"))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
