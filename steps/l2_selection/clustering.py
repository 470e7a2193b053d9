"""Clusters of return columns by correlation: distances averaged over lookbacks, Ward linkage, two cuts.

Per lookback the Pearson correlation R is conditioned, R' = (1 - a) R + a I with
a = max(ridge_floor, a*), a* the closed form of `l4_allocation.kernels.conditioning`; the distance is
d = sqrt((1 - ρ')/2) in [0, 1] (Mantegna 1999, up to the factor), averaged over lookbacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ContractError
from quantctl.contracts.records.clusters import SINGULAR, ClusterMembers, Ridge, SelectionClusters
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.selection import ClusterSettings, SelectionSettings
from quantctl.contracts.stage import Finding, Outcome, StageParams, stage
from quantctl.steps.l2_selection.ward import Merge, cut, ward_linkage
from quantctl.steps.l4_allocation.kernels.conditioning import condition_correlation

if TYPE_CHECKING:
    import polars as pl

    from quantctl.contracts.records.foundation import FoundationReport

Array = NDArray[np.float64]
MIN_LOOKBACK = 20
TINY_VARIANCE = 1e-16


@dataclass(frozen=True)
class Clustering:
    """The clusters of N columns.

    labels : cluster id 1..k of each column, in the order of the names that were given
    members : id -> member names, sorted; ids are ordered by smallest member
    mean_rho : id -> mean off-diagonal raw correlation in [-1, 1], averaged over lookbacks; 0 for one member
    linkage : rows (left, right, height, size) over the names in sorted order, N + k names row k's result
    lookbacks_used : rows of each correlation window
    ridge : how each window was conditioned
    findings : `CLUSTER_LOOKBACK_TOO_SHORT`, `CLUSTER_CAP_BINDING`, `CORR_UNDEFINED`
    """

    labels: tuple[int, ...]
    members: dict[int, tuple[str, ...]]
    mean_rho: dict[int, float]
    linkage: tuple[Merge, ...]
    lookbacks_used: tuple[int, ...]
    ridge: tuple[Ridge, ...]
    findings: tuple[Finding, ...]

    def record(self, settings: ClusterSettings) -> dict[str, Any]:
        """Fields of `SelectionClusters` and `PortfolioClusters`."""
        return {
            "lookbacks_used": list(self.lookbacks_used),
            "threshold": settings.threshold,
            "max_clusters": settings.max_clusters,
            "ridge": list(self.ridge),
            "clusters": {
                str(key): ClusterMembers(members=list(names), mean_rho=self.mean_rho[key])
                for key, names in self.members.items()
            },
            "linkage": [tuple(merge) for merge in self.linkage],
        }


def cluster_streams(
    values: Array, names: Sequence[str], settings: ClusterSettings, kappa_max: float
) -> Clustering:
    """Cluster the columns of a dense return matrix.

    Parameters
    ----------
    values : ndarray of shape (T, N), finite, oldest row first; a zero return is data
    names : N distinct column names, in any order: the result does not depend on it
    settings : lookbacks (rows), cut height in units of distance, most clusters, ridge floor
    kappa_max : condition number that every window's correlation stays below

    Raises `CLUSTER_INPUT` (exit 3) if the matrix is empty, not finite, or names repeat.
    """
    _check(values, names)
    order = sorted(range(len(names)), key=lambda column: names[column])
    ranked = [names[column] for column in order]
    columns = np.ascontiguousarray(values[:, order])
    lookbacks, findings = _lookbacks(settings.lookbacks, len(columns))
    distance, rho, ridge, undefined = _average(columns, lookbacks, settings.ridge_floor, kappa_max)
    findings += [_undefined(ranked[column]) for column in undefined]
    merges = ward_linkage(distance)
    count, capped = _count([merge.height for merge in merges], len(ranked), settings)
    sorted_labels = cut(merges, len(ranked), count)
    members = {
        key: tuple(name for name, label in zip(ranked, sorted_labels, strict=True) if label == key)
        for key in range(1, count + 1)
    }
    label_of = dict(zip(ranked, sorted_labels, strict=True))
    return Clustering(
        labels=tuple(label_of[name] for name in names),
        members=members,
        mean_rho=_mean_rho(rho, np.array(sorted_labels), count),
        linkage=tuple(merges),
        lookbacks_used=lookbacks,
        ridge=ridge,
        findings=(*findings, *capped),
    )


def _check(values: Array, names: Sequence[str]) -> None:
    rows, columns = values.shape
    if columns != len(names) or not columns or rows < 2:
        raise ContractError("CLUSTER_INPUT", f"{rows} rows and {columns} columns for {len(names)} names")
    if len(set(names)) != len(names) or not np.isfinite(values).all():
        raise ContractError("CLUSTER_INPUT", "columns to be clustered repeat or hold non-finite values")


def _lookbacks(configured: Sequence[int], rows: int) -> tuple[tuple[int, ...], list[Finding]]:
    findings = [
        Finding(
            level="WARN",
            code="CLUSTER_LOOKBACK_TOO_SHORT",
            message=f"a correlation over {window} rows is not used; the least is {MIN_LOOKBACK}",
            details={"lookback": window},
        )
        for window in configured
        if window < MIN_LOOKBACK
    ]
    fitting = sorted({window for window in configured if MIN_LOOKBACK <= window <= rows})
    return tuple(fitting) or (rows,), findings


def _average(
    values: Array, lookbacks: Sequence[int], floor: float, kappa_max: float
) -> tuple[Array, Array, tuple[Ridge, ...], list[int]]:
    """Mean distance and mean raw correlation over windows, the ridges, and columns never defined."""
    n = values.shape[1]
    distance, rho, counts = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
    ridge = []
    for window in lookbacks:
        corr, defined = _correlation(values[-window:])
        conditioned = condition_correlation(corr, kappa_max, floor=floor)
        pairs = np.outer(defined, defined)
        distance += np.where(pairs, np.sqrt(np.clip((1.0 - conditioned.corr) / 2.0, 0.0, 1.0)), 0.0)
        rho += np.where(pairs, corr, 0.0)
        counts += pairs
        ridge.append(
            _ridge(window, n, conditioned.intensity, conditioned.kappa_before, conditioned.kappa_after)
        )
    never = counts == 0
    divisor = np.where(never, 1.0, counts)
    distance = np.where(never, np.sqrt(0.5), distance / divisor)
    distance = (distance + distance.T) / 2.0
    np.fill_diagonal(distance, 0.0)
    return distance, rho / divisor, tuple(ridge), np.flatnonzero(np.diag(never)).tolist()


def _correlation(window: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Pearson correlation of a window, rho 0 and a False flag for a column without variance."""
    centred = window - window.mean(axis=0)
    norms = np.sqrt(np.einsum("tn,tn->n", centred, centred))
    defined = norms > np.sqrt(TINY_VARIANCE * len(window))
    scaled = centred / np.where(defined, norms, 1.0)
    scaled[:, ~defined] = 0.0
    corr = np.clip(scaled.T @ scaled, -1.0, 1.0)
    corr = (corr + corr.T) / 2.0
    np.fill_diagonal(corr, 1.0)
    return corr, defined


def _ridge(window: int, n: int, intensity: float, before: float, after: float) -> Ridge:
    singular = not before < 1.0 / (n * np.finfo(np.float64).eps)
    return Ridge(
        window=window,
        intensity=intensity,
        kappa_before=None if singular else before,
        kappa_before_reason=SINGULAR if singular else None,
        kappa_after=max(after, 1.0),
    )


def _count(heights: Sequence[float], n: int, settings: ClusterSettings) -> tuple[int, list[Finding]]:
    """Number of clusters: merges up to the threshold, at most `max_clusters`."""
    monotone = np.maximum.accumulate(np.array(heights)) if heights else np.zeros(0)
    wanted = n - int(np.searchsorted(monotone, settings.threshold, side="right"))
    if wanted <= settings.max_clusters:
        return wanted, []
    capped = Finding(
        level="INFO",
        code="CLUSTER_CAP_BINDING",
        message=f"height {settings.threshold:g} gives {wanted} clusters; cut to {settings.max_clusters}",
        details={"at_threshold": wanted, "max_clusters": settings.max_clusters},
    )
    return settings.max_clusters, [capped]


def _mean_rho(rho: Array, labels: NDArray[np.int_], count: int) -> dict[int, float]:
    means = {}
    for key in range(1, count + 1):
        block = rho[np.ix_(labels == key, labels == key)]
        pairs = block[np.triu_indices(len(block), k=1)]
        means[key] = float(np.clip(pairs.mean(), -1.0, 1.0)) if len(pairs) else 0.0
    return means


def _undefined(name: str) -> Finding:
    return Finding(
        level="WARN",
        code="CORR_UNDEFINED",
        message=f"{name} has no variance in any correlation window; its correlations count as 0",
        symbol=name,
    )


class ClusteringParams(StageParams):
    """Settings that clustering of raw returns reads."""

    selection: SelectionSettings
    allocation: AllocationSettings


@stage("selection.clustering", writes=("selection_clusters",), params=ClusteringParams)
def cluster(
    returns_matrix: pl.DataFrame, foundation_report: FoundationReport, params: ClusteringParams
) -> Outcome:
    """Cluster the raw returns of the pool columns by correlation."""
    roles = foundation_report.column_roles
    pool = sorted(name for name in roles if "pool" in roles[name])
    values = returns_matrix.sort("date").select(pool).to_numpy()
    settings = params.selection.clusters
    clustering = cluster_streams(values, pool, settings, params.allocation.kappa_max)
    return Outcome(
        outputs={"selection_clusters": SelectionClusters(**clustering.record(settings))},
        findings=list(clustering.findings),
        metrics={"assets": len(pool), "clusters": len(clustering.members)},
    )
