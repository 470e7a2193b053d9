"""Ward linkage by rounds of the Lance-Williams update, with a tie rule that does not depend on rounding luck.

For clusters i, j of sizes n_i, n_j merged at squared distance d²_ij, any other cluster k gets

    d²_(ij)k = ((n_i + n_k) d²_ik + (n_j + n_k) d²_jk - n_k d²_ij) / (n_i + n_j + n_k)

(Lance and Williams 1967; Ward's row of their table). Heights are square roots, in units of d.

The update is reducible: a merge brings no third cluster closer than the nearer of its two parts was.
Hence two clusters that are each other's nearest stay so until they merge, and all such pairs merge in one
round (Murtagh 1983, A survey of recent advances in hierarchical clustering algorithms). Sorting the merges
by height gives the sequence of the greedy algorithm.
"""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Rows that fit a processor's cache together.
BLOCK = 64
# So few clusters are merged one by one: an array operation costs more than the numbers in it.
FEW = 24


class Merge(NamedTuple):
    """Two clusters joined: their numbers (left < right), the height in units of d, the new size."""

    left: int
    right: int
    height: float
    size: int


class Round(NamedTuple):
    """Merges made together: numbers (in order of making) and ranks of both clusters, d², new sizes."""

    left: Index
    right: Index
    first: Index
    second: Index
    squared: Array
    size: Array


def ward_linkage(distance: Array) -> list[Merge]:
    """Merges of N points in order, as rows (left, right, height, size); N + k names the result of row k.

    Parameters
    ----------
    distance : ndarray of shape (N, N), symmetric, zero diagonal, finite, ≥ 0. Row order is the order
        of the tie rule: of equally close pairs the one with the smallest first member, then the
        smallest second member, is merged first (a cluster's rank is its smallest member).

    M merges cost O(M N), and a cluster that lost its nearest one costs O(N): O(N²) in ordinary cases,
    O(N³) at worst.
    """
    rows = ward_rows(np.square(distance)).tolist()
    return [Merge(int(left), int(right), height, int(size)) for left, right, height, size in rows]


def ward_rows(squared: Array) -> Array:
    """The merges as an ndarray of shape (N - 1, 4), from squared distances, which are overwritten."""
    forest = _Forest(squared)
    rounds: list[Round] = []
    while forest.alive > FEW:
        rounds.append(forest.merge(*forest.mutual_pairs()))
        forest.compact()
    if forest.alive > 1:
        rounds.append(forest.merge_the_last())
    return _rows(rounds, len(squared)) if rounds else np.zeros((0, 4))


class _Forest:
    """Clusters in slots, ordered by rank; slots whose cluster was absorbed are at distance inf.

    squared : squared distances of slots, symmetric, inf on the diagonal
    nearest : first of the slots closest to each slot; an empty slot has itself
    slots : 0, 1, 2, ... of any length up to the number of points
    ranks, nodes, sizes : smallest member, number in order of making, and members of each slot's cluster
    """

    def __init__(self, squared: Array) -> None:
        count = len(squared)
        np.fill_diagonal(squared, np.inf)
        self.squared, self.alive, self.made = squared, count, count
        self.nearest = squared.argmin(axis=1)
        self.slots = np.arange(count)
        self.ranks, self.nodes = self.slots.copy(), self.slots.copy()
        self.sizes = np.ones(count)

    def mutual_pairs(self) -> tuple[Index, Index, Array]:
        """Slots i < j that are each other's nearest, and d²; the closest pair is first."""
        nearest, slots = self.nearest, self.slots[: len(self.nearest)]
        i = ((nearest[nearest] == slots) & (nearest > slots)).nonzero()[0]
        if not len(i):
            i = self._closest()
        j = nearest[i]
        squared = self.squared[i, j]
        order = squared.argsort(kind="stable")
        return i[order], j[order], squared[order]

    def _closest(self) -> Index:
        """First slot of the closest pair: rounding may leave no pair mutual, in the input or by an update."""
        taken = self._kept()
        self._look_again(taken)
        i = taken[self.squared[taken, self.nearest[taken]].argmin()]
        j = self.nearest[i]
        self.nearest[min(i, j)] = max(i, j)
        return np.array([min(i, j)])

    def merge(self, i: Index, j: Index, squared: Array) -> Round:
        """Absorb the clusters of slots j in those of slots i."""
        sizes = self.sizes[i] + self.sizes[j]
        made = Round(self.nodes[i], self.nodes[j], self.ranks[i], self.ranks[j], squared, sizes)
        updated = self._updated(np.concatenate((i, j)), squared, sizes)
        self.squared[i] = updated
        self.squared[:, i] = updated.T
        self.squared[:, j] = np.inf
        self.sizes[i] = sizes
        self.nodes[i] = np.arange(self.made, self.made + len(i))
        self.made += len(i)
        self.alive -= len(i)
        changed = np.zeros(len(self.nearest), dtype=np.bool_)
        changed[i] = changed[j] = True
        lost = changed[self.nearest]
        lost[j] = False
        self.nearest[j] = j
        self._look_again(lost.nonzero()[0])
        return made

    def _look_again(self, slots: Index) -> None:
        for part in _blocks(slots):
            self.nearest[part] = self.squared.take(part, axis=0).argmin(axis=1)

    def _updated(self, parts: Index, squared: Array, sizes: Array) -> Array:
        """Distances of the new clusters to all slots, from the slots of their parts, first all i, then all j.

        A distance between two new clusters is as if they had been made in order.
        """
        made = len(squared)
        of_parts = self.sizes[parts]
        rows = _lance_williams(
            self.squared.take(parts, axis=0), of_parts[:, None], self.sizes, squared[:, None], sizes[:, None]
        )
        if made > 1:
            columns = rows.take(parts, axis=1).T
            both = _lance_williams(columns, of_parts[:, None], sizes, squared[:, None], sizes[:, None])
            later = self.slots[:made, None] > self.slots[:made]
            rows[:, parts[:made]] = np.where(later, both, both.T)
        rows[self.slots[:made], parts[:made]] = np.inf
        rows[:, parts[made:]] = np.inf
        return rows

    def compact(self) -> None:
        """Drop the empty slots, in place, once they are a quarter of all; the order of the others stays."""
        if self.alive > 0.75 * len(self.nearest):
            return
        kept = self._kept()
        slot = np.zeros(len(self.nearest), dtype=np.intp)
        slot[kept] = np.arange(len(kept))
        # A row moves to where only rows before it were: nothing is overwritten before it is read.
        smaller = self.squared.reshape(-1)[: len(kept) ** 2].reshape(len(kept), len(kept))
        for part in _blocks(kept):
            smaller[slot[part]] = self.squared.take(part, axis=0).take(kept, axis=1)
        self.squared = smaller
        self.nearest = slot[self.nearest[kept]]
        self.ranks, self.nodes, self.sizes = self.ranks[kept], self.nodes[kept], self.sizes[kept]

    def _kept(self) -> Index:
        return np.flatnonzero(self.nearest != self.slots[: len(self.nearest)])

    def merge_the_last(self) -> Round:
        """All that is left to merge, by the greedy algorithm itself on lists."""
        kept = self._kept()
        rows = self.squared[np.ix_(kept, kept)].tolist()
        sizes = self.sizes[kept].tolist()
        nodes, ranks = self.nodes[kept].tolist(), self.ranks[kept].tolist()
        made = []
        while len(rows) > 1:
            least = [min(row) for row in rows]
            close = min(least)
            i = least.index(close)
            i, j = sorted((i, rows[i].index(close)))
            size = sizes[i] + sizes[j]
            made.append((nodes[i], nodes[j], ranks[i], ranks[j], close, size))
            _absorb(rows, sizes, i, j, close)
            nodes[i] = self.made
            self.made += 1
            del nodes[j], ranks[j]
        left, right, first, second, squared, size = (np.array(column) for column in zip(*made, strict=True))
        return Round(left, right, first, second, squared, size)


def _absorb(rows: list[list[float]], sizes: list[float], i: int, j: int, close: float) -> None:
    """The module's formula on lists: cluster j joins slot i and slot j goes."""
    n_i, n_j = sizes[i], sizes[j]
    updated = [
        ((n_i + n_k) * to_i + (n_j + n_k) * to_j - n_k * close) / (n_i + n_j + n_k)
        for n_k, to_i, to_j in zip(sizes, rows[i], rows[j], strict=True)
    ]
    updated[i] = math.inf
    for row, distance in zip(rows, updated, strict=True):
        row[i] = distance
        del row[j]
    rows[i], sizes[i] = updated, n_i + n_j
    del updated[j], rows[j], sizes[j]


def _blocks(slots: Index) -> list[Index]:
    """The slots in parts of `BLOCK`."""
    return [slots[start : start + BLOCK] for start in range(0, len(slots), BLOCK)]


def _lance_williams(to_parts: Array, n_parts: Array, n_k: Array, merged: Array, n_merged: Array) -> Array:
    """The module's formula for M merges and K clusters, from distances (2M, K) of first and second parts."""
    weighted = (n_parts + n_k) * to_parts
    updated = weighted[: len(merged)]
    updated += weighted[len(merged) :]
    updated -= n_k * merged
    updated /= n_merged + n_k
    return updated


def _rows(rounds: list[Round], count: int) -> Array:
    """Rows of the linkage: merges by height, renumbered in that order."""
    made = Round(*(np.concatenate(parts) for parts in zip(*rounds, strict=True)))
    order = _sequence(made, count)
    number = np.arange(count + len(order))
    number[count + order] = np.arange(count, count + len(order))
    left, right = number[made.left[order]], number[made.right[order]]
    rows = np.empty((len(order), 4))
    rows[:, 0], rows[:, 1] = np.minimum(left, right), np.maximum(left, right)
    rows[:, 2], rows[:, 3] = np.sqrt(made.squared[order]), made.size[order]
    return rows


def _sequence(made: Round, count: int) -> Index:
    """The merges in the order of the greedy algorithm: the closest of those whose two parts exist."""
    order = made.squared.argsort(kind="stable")
    ascending = made.squared[order]
    if (ascending[1:] > ascending[:-1]).all() and _parts_first(made, order, count):
        return order
    user = np.full(count + len(order), -1)
    user[made.left] = user[made.right] = np.arange(len(order))
    missing = (made.left >= count).astype(int) + (made.right >= count)
    key = list(zip(made.squared.tolist(), made.first.tolist(), made.second.tolist(), strict=True))
    ready = [(*key[merge], merge) for merge in np.flatnonzero(missing == 0).tolist()]
    heapq.heapify(ready)
    sequence = []
    while ready:
        merge = heapq.heappop(ready)[3]
        sequence.append(merge)
        parent = int(user[count + merge])
        if parent >= 0:
            missing[parent] -= 1
            if missing[parent] == 0:
                heapq.heappush(ready, (*key[parent], parent))
    return np.array(sequence, dtype=np.intp)


def _parts_first(made: Round, order: Index, count: int) -> bool:
    """Whether every merge comes after the merges that made its parts."""
    place = np.full(count + len(order), -1)
    place[count + order] = np.arange(len(order))
    return bool((np.maximum(place[made.left], place[made.right])[order] < np.arange(len(order))).all())


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
