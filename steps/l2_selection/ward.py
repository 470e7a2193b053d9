"""Ward linkage by the Lance-Williams update, with a tie rule that does not depend on rounding luck.

For clusters i, j of sizes n_i, n_j merged at squared distance d²_ij, any other cluster k gets

    d²_(ij)k = ((n_i + n_k) d²_ik + (n_j + n_k) d²_jk - n_k d²_ij) / (n_i + n_j + n_k)

(Lance and Williams 1967; Ward's row of their table). Heights are square roots, in units of d.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Merge(NamedTuple):
    """Two clusters joined: their numbers (left < right), the height in units of d, the new size."""

    left: int
    right: int
    height: float
    size: int


def ward_linkage(distance: Array) -> list[Merge]:
    """Merges of N points in order, as rows (left, right, height, size); N + k names the result of row k.

    Parameters
    ----------
    distance : ndarray of shape (N, N), symmetric, zero diagonal, finite, ≥ 0. Row order is the order
        of the tie rule: of equally close pairs the one with the smallest first member, then the
        smallest second member, is merged first (a cluster's rank is its smallest member).

    Nearest neighbours are cached per row, so the cost is O(N²) in ordinary cases, O(N³) at worst.
    Heights never fall, because Ward's update is reducible.
    """
    n = len(distance)
    squared = np.square(distance)
    np.fill_diagonal(squared, np.inf)
    sizes = np.ones(n)
    names = list(range(n))
    nearest = np.array([_nearest(squared, row) for row in range(n)], dtype=np.intp)
    least = squared[np.arange(n), nearest]
    merges: list[Merge] = []
    for step in range(n - 1):
        i = int(np.argmin(least))
        j = int(nearest[i])
        size = int(sizes[i] + sizes[j])
        left, right = sorted((names[i], names[j]))
        merges.append(Merge(left, right, float(np.sqrt(squared[i, j])), size))
        names[i] = n + step
        _absorb(squared, sizes, i, j)
        stale = np.flatnonzero((nearest == i) | (nearest == j))
        for row in {i, j, *stale.tolist()}:
            nearest[row] = _nearest(squared, row)
            least[row] = squared[row, nearest[row]]
    return merges


def _nearest(squared: Array, row: int) -> int:
    """First of the later columns that are closest to `row`; the last row has none (itself, at inf)."""
    later = squared[row, row + 1 :]
    return row + 1 + int(np.argmin(later)) if len(later) else row


def _absorb(squared: Array, sizes: Array, i: int, j: int) -> None:
    """Merge cluster j into slot i < j; slot j goes out of reach."""
    with np.errstate(invalid="ignore"):
        updated = (sizes[i] + sizes) * squared[i] + (sizes[j] + sizes) * squared[j] - sizes * squared[i, j]
    updated /= sizes[i] + sizes[j] + sizes
    updated[[i, j]] = np.inf
    updated[~np.isfinite(squared[i])] = np.inf
    squared[i] = squared[:, i] = np.maximum(updated, 0.0)
    squared[j] = squared[:, j] = np.inf
    sizes[i] += sizes[j]


def cut(merges: list[Merge], n: int, count: int) -> list[int]:
    """Labels 1..`count` of n points after the first n - `count` merges, by smallest member."""
    parent = list(range(n + len(merges)))
    for step, merge in enumerate(merges[: n - count]):
        parent[merge.left] = parent[merge.right] = n + step
    roots = [_root(parent, point) for point in range(n)]
    ids: dict[int, int] = {}
    return [ids.setdefault(root, len(ids) + 1) for root in roots]


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        node = parent[node]
    return node
