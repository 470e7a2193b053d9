"""Rows of the SQL surface that are made from artifacts: weights and vetoes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quantctl.contracts.canonical import parse_strict
from quantctl.contracts.errors import QuantError

Rows = list[tuple[Any, ...]]
_WEIGHTS = {"synthetic": "portfolio_optimized_v2.json", "physical": "portfolio_flattened.json"}


def made_rows(root: Path, run_id: str) -> dict[str, Rows]:
    """Table -> rows, from what the run directory holds so far."""
    return {"weights": _weights(root, run_id), "vetoes": _vetoes(root, run_id)}


def _weights(root: Path, run_id: str) -> Rows:
    rows: Rows = []
    for space, name in _WEIGHTS.items():
        for profile, body in sorted(_document(root, name).get("profiles", {}).items()):
            rows += [_weight(run_id, space, profile, body["status"], asset) for asset in body["assets"]]
    return rows


def _weight(run_id: str, space: str, profile: str, status: str, asset: dict[str, Any]) -> tuple[Any, ...]:
    return (
        run_id,
        space,
        profile,
        status,
        asset["Symbol"],
        asset["Weight"],
        asset["Net_Weight"],
        asset["Direction"],
        asset.get("Cluster_ID"),
        asset.get("Type"),
    )


def _vetoes(root: Path, run_id: str) -> Rows:
    symbols = {
        row["atom"]: row["symbol"] for row in _document(root, "portfolio_candidates_raw.json").get("rows", [])
    }
    rows: Rows = [
        (run_id, "foundation", drop["symbol"], None, drop["code"], "HARD", *_numbers(drop))
        for drop in _document(root, "foundation_report.json").get("drops", [])
    ]
    for atom, vetoes in sorted(_document(root, "selection_audit.json").get("vetoes", {}).items()):
        rows += [
            (run_id, "selection", symbols.get(atom), atom, veto["code"], veto["class"], *_numbers(veto))
            for veto in vetoes
        ]
    return rows


def _numbers(row: dict[str, Any]) -> tuple[float | None, float | None]:
    return _number(row.get("value")), _number(row.get("limit"))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _document(root: Path, name: str) -> dict[str, Any]:
    """A JSON artifact below `data/`; an absent or unreadable one gives no rows."""
    try:
        found: dict[str, Any] = parse_strict((root / "data" / name).read_bytes())
    except (FileNotFoundError, QuantError):
        return {}
    return found
