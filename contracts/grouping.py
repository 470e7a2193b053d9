"""The one door to grouped aggregation.

Polars sums the rows of a group in the order in which it meets them, so a float aggregate over
unsorted keys is not reproducible bit for bit. Sorting by a total order first makes it so.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def grouped(
    frame: pl.DataFrame, keys: Sequence[str], order: Sequence[str] = ()
) -> pl.dataframe.group_by.GroupBy:
    """Group `frame` by `keys` after a sort by keys and then `order`.

    Together `keys` and `order` must be unique per row for the result to be reproducible.
    """
    return frame.sort([*keys, *order]).group_by(list(keys), maintain_order=True)


def grouped_lazy(
    frame: pl.LazyFrame, keys: Sequence[str], order: Sequence[str] = ()
) -> pl.lazyframe.group_by.LazyGroupBy:
    """`grouped` for a lazy frame."""
    return frame.sort([*keys, *order]).group_by(list(keys), maintain_order=True)
