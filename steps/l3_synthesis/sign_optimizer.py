"""The solver's side of the sign test: weights live in the synthetic space, where nothing is short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from quantctl.contracts.stage import Finding, Loaded

NET_TOLERANCE = 1e-12
EMPTY_STATUSES = frozenset({"INFEASIBLE", "SKIPPED"})


def check_optimizer(optimizer: Loaded[Any], atoms: set[str]) -> tuple[list[Finding], dict[str, int]]:
    """Findings of the solver file and how many risk profiles and rows were examined.

    optimizer : the file as a contract model or as plain JSON
    atoms : ids of the atom table
    """
    counts = {"risk_profiles": 0, "optimizer_rows": 0}
    if optimizer.value is None:
        code = "SIGNTEST_MISSING_OPTIMIZER" if optimizer.problem == "missing" else "SIGNTEST_OPTIMIZER_PARSE"
        return [_error(code, f"{optimizer.path} is {optimizer.problem}: {optimizer.detail}")], counts
    body = _plain(optimizer.value)
    profiles = body.get("profiles") if isinstance(body, Mapping) else None
    if not isinstance(profiles, Mapping):
        return [_error("SIGNTEST_OPTIMIZER_PARSE", f"{optimizer.path} has no risk profiles")], counts
    findings = _space(body)
    if not profiles:
        findings.append(_error("SIGNTEST_PROFILE_UNCHECKED", "the file has no risk profile"))
    for name in sorted(profiles):
        found, rows = _profile(name, profiles[name], atoms)
        findings += found
        counts["risk_profiles"] += 1
        counts["optimizer_rows"] += rows
    return findings, counts


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", by_alias=True) if isinstance(value, BaseModel) else value


def _space(body: Mapping[str, Any]) -> list[Finding]:
    if body.get("space") == "synthetic":
        return []
    return [_error("SIGNTEST_SPACE_TAG", f"space is {body.get('space')!r}, not 'synthetic'")]


def _profile(name: str, profile: Any, atoms: set[str]) -> tuple[list[Finding], int]:
    assets = profile.get("assets") if isinstance(profile, Mapping) else None
    if not isinstance(assets, list):
        return [_error("SIGNTEST_PROFILE_UNCHECKED", f"risk profile {name} has no list of assets")], 0
    if not assets:
        typed = profile.get("status") in EMPTY_STATUSES and profile.get("reason")
        message = f"risk profile {name} is empty without a typed status"
        return ([] if typed else [_error("SIGNTEST_PROFILE_UNCHECKED", message)]), 0
    findings = [finding for row in assets for finding in _row(name, row, atoms)]
    return findings, len(assets)


def _row(profile: str, row: Mapping[str, Any], atoms: set[str]) -> list[Finding]:
    symbol = str(row.get("Symbol"))
    found = []
    if symbol not in atoms:
        found.append(_error("SIGNTEST_OPTIMIZER_UNKNOWN_ATOM", f"{profile}: not in the atom table", symbol))
    if not _normalised(row):
        message = f"{profile}: Direction is not LONG, or Weight and Net_Weight are not one number >= 0"
        found.append(_error("SIGNTEST_OPTIMIZER_NOT_NORMALIZED", message, symbol))
    return found


def _normalised(row: Mapping[str, Any]) -> bool:
    weight, net = row.get("Weight"), row.get("Net_Weight")
    if not isinstance(weight, int | float) or not isinstance(net, int | float):
        return False
    return row.get("Direction") == "LONG" and weight >= 0 and abs(net - weight) <= NET_TOLERANCE


def _error(code: str, message: str, symbol: str | None = None) -> Finding:
    return Finding(level="ERROR", code=code, message=message, symbol=symbol)
