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
    # foundation and L0 gates
    "FOUNDATION_SCHEMA": Code(3, "The pinned snapshot breaks its contract."),
    "FOUNDATION_UNPINNED": Code(3, "The snapshot that was read is not the pinned one."),
    "FOUNDATION_INVALID": Code(3, "The returns matrix breaks an L0 invariant."),
    "FOUNDATION_EMPTY": Code(3, "No pool asset survived the foundation rules."),
    "COVERAGE_LINKED": Code(None, "A coverage entry of the snapshot was linked into the ledger."),
    "COVERAGE_UNLINKED": Code(3, "The snapshot carries no coverage of a required stage."),
    "COVERAGE_HASH": Code(3, "A coverage file is missing or changed."),
    "COVERAGE_PARTIAL": Code(3, "Coverage is below 1 without an unexpired exception."),
    "HEALTH_VERDICT_MISSING": Code(3, "A required asset has no health status."),
    "HEALTH_ASSET_UNHEALTHY": Code(3, "A required asset is not eligible."),
    "FRESHNESS_STALE": Code(3, "The snapshot's newest bar is too old at the as-of date."),
    "FOUNDATION_NOTHING_CHECKED": Code(3, "The foundation gate had nothing to examine."),
    "FOUNDATION_PARSE": Code(3, "The foundation gate could not read an input."),
    "CANDIDATES_PARSE": Code(3, "The pool cannot be read."),
    "CANDIDATES_NOTHING_CHECKED": Code(3, "The pool is empty."),
    "L1_CANDIDATE_SCHEMA": Code(3, "A candidate record is not canonical."),
    "L0_PARSE": Code(3, "The returns matrix cannot be read."),
    "L0_NOTHING_CHECKED": Code(3, "The returns matrix has no columns."),
    "L0_NONFINITE": Code(3, "A return is null, NaN or infinite."),
    "L0_DUPLICATE": Code(3, "A date or column stands twice."),
    "L0_INDEX": Code(3, "The dates are not increasing UTC midnights."),
    "L0_TOXIC": Code(3, "A return is beyond 5.0."),
    "L0_BELOW_MINUS_ONE": Code(3, "A return is below -1."),
    "L0_PADDED_CALENDAR": Code(3, "A row is no session of an exchange calendar."),
    "L0_CONSTANT": Code(3, "A column has no variance."),
    "L0_TOO_SHORT": Code(3, "The matrix has fewer rows than data.min_days_floor."),
    "L0_LARGE_MOVE": Code(None, "A return is beyond 1.0."),
    "L0_ZERO_RUN": Code(None, "Five or more returns in a row are exactly zero."),
    "L0_SPARSE_DROPPED": Code(None, "An asset was dropped for gaps."),
}
