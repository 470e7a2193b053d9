"""Linkages by SciPy's compiled kernels, loaded without the package around them; Ward's under our tie rule.

Ward's nearest-neighbour chain (Murtagh 1983) finds a greedy tree, but of equally close pairs it takes
another one than `ward_rows` does. Hence the tree is grown twice, from

    d_ij (1 + ε u_ij)   and   d_ij (1 − ε u_ij),    −1 < u_ij < 1 fixed and in no relation to the data.

Which of two pairs is closer changes by +εL in one and by −εL in the other: where the data leave a tie, the
two trees differ. Where they agree, their merges are those of d itself by any tie rule, and the mean of
their heights is its height up to ε². A tie, or a distance of zero, is left to `ward_rows`.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import machinery, util
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l2_selection.ward import ward_rows

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Beyond so many leaves two chains cost more than `ward_rows`.
MOST = 320
# Above what rounding adds to a distance on its way through the tree, below what tells two streams apart.
EPSILON = 1e-11
# SciPy's numbers of the methods that its chain knows.
_CHAINED = {"complete": 1, "average": 2, "ward": 5}


class Upper(NamedTuple):
    """places : flat indices of the upper triangle, row by row; shift : ε u of each of its entries."""

    places: Index
    shift: Array


def linked(squared: Array, method: str) -> Array:
    """Rows (left, right, height, size) of the tree over squared distances (N, N), which are overwritten.

    method : ward, single, average, complete. O(N²).
    """
    if method == "ward":
        chained = chained_rows(squared)
        return ward_rows(squared) if chained is None else chained
    count, kernels = len(squared), _compiled()
    condensed = condensed_root(squared)
    if kernels is None:
        from scipy.cluster import hierarchy

        return np.asarray(hierarchy.linkage(condensed, method))
    if method == "single":
        return np.asarray(kernels.mst_single_linkage(condensed, count))
    return np.asarray(kernels.nn_chain(condensed, count, _CHAINED[method]))


def chained_rows(squared: Array) -> Array | None:
    """The rows that `ward_rows` gives, to rounding, or null where it has to decide a tie.

    `squared` : squared distances, shape (N, N), symmetric, not modified.
    """
    count, kernels = len(squared), _compiled()
    if kernels is None or not 2 < count <= MOST:
        return None
    distance = condensed_root(squared)
    if not distance.all():
        return None
    shift = distance * _upper(count).shift
    rows, other = (kernels.nn_chain(distance + each, count, _CHAINED["ward"]) for each in (shift, -shift))
    if not (rows[:, :2] == other[:, :2]).all():
        return None
    rows[:, 2] += other[:, 2]
    rows[:, 2] *= 0.5
    return np.asarray(rows)


def condensed_root(squared: Array) -> Array:
    """The distances of the upper triangle row by row, shape (N(N − 1)/2,)."""
    count = len(squared)
    if count <= MOST:
        upper = squared.reshape(-1).take(_upper(count).places)
    else:
        upper = np.concatenate([squared[row, row + 1 :] for row in range(count - 1)])
    return np.asarray(np.sqrt(upper))


@lru_cache(maxsize=8)
def _upper(count: int) -> Upper:
    places = np.flatnonzero(np.triu(np.ones((count, count), dtype=np.bool_), 1))
    return Upper(places, EPSILON * np.random.default_rng(0).uniform(-1.0, 1.0, len(places)))


@cache
def _compiled() -> Any | None:
    """SciPy's module with `nn_chain` and `mst_single_linkage`, or null in a SciPy without them.

    It is loaded alone: the package around it takes a tenth of a second to import.
    """
    package = util.find_spec("scipy.cluster")
    places = package.submodule_search_locations if package else None
    found = machinery.PathFinder.find_spec("scipy.cluster._hierarchy", places) if places else None
    if found is None or found.loader is None:
        return None
    module = util.module_from_spec(found)
    found.loader.exec_module(module)
    return module if hasattr(module, "nn_chain") and hasattr(module, "mst_single_linkage") else None
