"""The tree under the hierarchical profiles: distances of streams, their linkage, the order of the leaves.

    direct      d_ij = √(½(1 − ρ_ij))                        half the distance of standardised streams
    euclidean   ‖d_·i − d_·j‖₂, the distance of two columns of the direct distances

(López de Prado 2016, Building Diversified Portfolios that Outperform Out of Sample, section 4.1; he uses
the second with single linkage.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.settings.allocation import HrpSettings
from quantctl.steps.l4_allocation.kernels.linkages import condensed_root, linked

Array = NDArray[np.float64]


class Tree(NamedTuple):
    """A dendrogram of N leaves.

    linkage : ndarray (N − 1, 4), rows (left, right, height, size); N + k names the result of row k
    order : leaves from left to right
    """

    linkage: Array
    order: list[int]


def squared_distances(cov: Array, options: HrpSettings) -> Array:
    """Squares of the distances of `options.distance`, shape (N, N), zero diagonal, symmetric as `cov` is."""
    vol = np.sqrt(cov.diagonal())
    squared = np.outer(vol, vol)
    np.divide(cov, squared, out=squared)
    squared *= -0.5
    squared += 0.5
    np.maximum(squared, 0.0, out=squared)
    squared.reshape(-1)[:: len(squared) + 1] = 0.0
    return _between_columns(np.sqrt(squared)) if options.distance == "euclidean" else squared


def _between_columns(distance: Array) -> Array:
    gram = distance.T @ distance
    norms = gram.diagonal()
    squared = np.add.outer(norms, norms)
    squared -= gram
    squared -= gram
    np.maximum(squared, 0.0, out=squared)
    squared.reshape(-1)[:: len(squared) + 1] = 0.0
    return squared


def grow(squared: Array, options: HrpSettings) -> Tree:
    """The tree over squared distances, which are overwritten.

    Ward's ties follow our own fixed rule. The optimal leaf order is SciPy's, imported only for it, and
    costs O(N³) at worst; all else O(N²).
    """
    if options.leaf_order == "dendrogram":
        linkage = linked(squared, options.linkage)
    else:
        from scipy.cluster import hierarchy

        condensed = condensed_root(squared)
        linkage = np.asarray(hierarchy.linkage(condensed, options.linkage, optimal_ordering=True))
    return Tree(linkage, leaves(linkage))


def leaves(linkage: Array) -> list[int]:
    """Leaves of a linkage from left to right."""
    count = len(linkage) + 1
    pairs = linkage[:, :2].astype(np.intp).tolist()
    order, stack = [], [2 * count - 2]
    while stack:
        node = stack.pop()
        if node < count:
            order.append(node)
        else:
            left, right = pairs[node - count]
            stack += [right, left]
    return order
