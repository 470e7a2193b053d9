"""A certificate in words: which constraints of a risk profile conflict, and which setting would end it."""

from __future__ import annotations

from typing import Any

from quantctl.output import table

# Beyond these a value cannot be set: the range of the key, or a declaration it asks for.
_LARGEST = 1.0
_WAIVED_ABOVE = 0.15


def in_words(certificate: dict[str, Any]) -> str:
    """A certificate of `infeasibility.json` for a person."""
    rows = [
        (_label(entry), entry["declared"], entry["feasible"], _remark(entry))
        for entry in certificate["nearest"]
    ]
    return (
        f"{certificate['profile']} is infeasible ({certificate['code']})\n{certificate['message']}\n"
        + table(("relaxed alone", "declared", "works from", "remark"), rows)
    )


def _label(entry: dict[str, Any]) -> str:
    return "sum of weights" if entry["family"] == "budget" else str(entry["setting"] or entry["family"])


def _remark(entry: dict[str, Any]) -> str:
    feasible, family = entry["feasible"], entry["family"]
    if feasible is None:
        return str(entry["reason"])
    if family == "budget":
        return (
            f"{entry['setting']}: allowed keeps a rest in cash"
            if feasible < 1.0
            else "no weights add up to less"
        )
    if family in ("beta", "weight_max", "cluster_cap") and feasible > _LARGEST:
        return "more than the setting admits"
    if family == "beta" and feasible > _WAIVED_ABOVE:
        return "needs allocation.beta.waiver"
    return ""
