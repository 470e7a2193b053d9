"""Codes of foundation rules, features, scoring, vetoes and the HTR ladder."""

from __future__ import annotations

from quantctl.contracts.codes.row import Code

CODES: dict[str, Code] = {
    # feature store
    "FEATURE_CALENDAR_MISSING": Code(3, "A symbol whose features are computed has no session calendar."),
    # clusters
    "CLUSTER_INPUT": Code(3, "A matrix to be clustered is empty, repeats a column or is not finite."),
    "CLUSTER_LOOKBACK_TOO_SHORT": Code(None, "A correlation lookback below 20 rows is not used."),
    "CLUSTER_CAP_BINDING": Code(None, "The cut height gives too many clusters; the number is capped."),
    "CORR_UNDEFINED": Code(None, "A column has no variance in any correlation window."),
    "CORR_SINGULAR": Code(None, "A correlation has no finite condition number before conditioning."),
}
