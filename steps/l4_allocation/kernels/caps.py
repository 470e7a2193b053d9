"""Effective caps: the smallest relaxation of the declared ones under which every cluster can be filled.

    c_eff = max(c, 1/n_clusters),   u_i = max(u, 1/N)

and where Σ_k min(c_eff, Σ_{i∈k} u_i) < 1, u_i = max(u, 1/N, c_eff/|k|) for the atoms of cluster k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.problem import Group

Array = NDArray[np.float64]

ROUNDING = 1e-12


class Caps(NamedTuple):
    """Effective caps.

    cluster : c_eff
    weights : ndarray of shape (N,), u_i
    cluster_relaxed, weight_relaxed : whether they lie above the declared values
    degenerate : n_clusters · c_eff = 1, the cluster weights are forced
    """

    cluster: float
    weights: Array
    cluster_relaxed: bool
    weight_relaxed: bool
    degenerate: bool


def effective_caps(labels: Sequence[str], cluster_cap: float, weight_max: float) -> Caps:
    """Caps for atoms with cluster `labels` (length N > 0), from declared caps in (0, 1] or above."""
    members = np.array(labels)
    names, sizes = np.unique(members, return_counts=True)
    cluster = max(cluster_cap, 1.0 / len(names))
    base = max(weight_max, 1.0 / len(members))
    weights = np.full(len(members), base)
    if float(np.minimum(cluster, sizes * base).sum()) < 1.0 - ROUNDING:
        for name, size in zip(names, sizes, strict=True):
            weights[members == name] = max(base, cluster / size)
    return Caps(
        cluster, weights, cluster > cluster_cap, bool(weights.max() > weight_max),
        abs(len(names) * cluster - 1.0) <= ROUNDING,
    )  # fmt: skip


def cluster_groups(labels: Sequence[str], cap: float) -> tuple[Group, ...]:
    """One row Σ_{i∈c} w_i ≤ cap per cluster, ordered by cluster id."""
    members = np.array(labels)
    ordered = sorted(set(labels), key=lambda label: (len(label), label))
    return tuple(Group(label, members == label, None, cap, "cluster") for label in ordered)
