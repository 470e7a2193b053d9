"""Collecting what a run recorded about a symbol, for the pure function that explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quantctl.contracts.errors import QuantError

if TYPE_CHECKING:
    from quantctl.sdk import QuantSDK

SOURCES = (
    "candidates_funnel", "portfolio_candidates_raw", "foundation_report", "selection_audit",
    "portfolio_candidates", "atoms", "portfolio_optimized_v2", "portfolio_flattened",
)  # fmt: skip


def explain(sdk: QuantSDK, run_id: str, symbol: str) -> list[dict[str, Any]]:
    """The steps that decided on `symbol`, from the scan on; what a run has not written is left out."""
    from quantctl.steps.l2_selection.explain import explain as explain_symbol

    sdk.status(run_id)
    return explain_symbol(symbol, **{name: _loaded(sdk, run_id, name) for name in SOURCES})


def _loaded(sdk: QuantSDK, run_id: str, name: str) -> Any | None:
    try:
        return sdk.load_artifact(run_id, name)
    except QuantError as problem:
        if problem.code != "ISOLATION_INPUT_MISSING":
            raise
        return None
