"""The candidates as filters, scorers and rankers see them: columns of the typed feature frame only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.errors import ContractError

Array = NDArray[np.float64]
LEGS = ("LONG", "SHORT")


@dataclass(frozen=True)
class Candidates:
    """The feature frame, sorted by atom. A column that it does not declare cannot be read.

    A null cell of a number column reads as NaN; directional columns are adjusted for SHORT already.
    """

    frame: pl.DataFrame

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Candidates:
        """The candidates of `selection_features`, in any row order."""
        return cls(frame.sort("atom"))

    def __len__(self) -> int:
        return self.frame.height

    @property
    def atoms(self) -> list[str]:
        """Atom ids, ascending."""
        return self.text("atom")

    def number(self, name: str) -> Array:
        """A number column of shape (N,), NaN where undefined; `FEATURE_COLUMN_MISSING` (exit 3) if absent."""
        return self._column(name).cast(pl.Float64).to_numpy().copy()

    def text(self, name: str) -> list[str]:
        """A text column; `FEATURE_COLUMN_MISSING` (exit 3) if absent."""
        return self._column(name).to_list()

    def leg(self, direction: str) -> NDArray[np.intp]:
        """Row numbers of one direction."""
        return np.flatnonzero(np.array(self.text("direction")) == direction)

    @property
    def sign(self) -> Array:
        """+1 for LONG rows, -1 for SHORT rows."""
        return np.where(np.array(self.text("direction")) == "SHORT", -1.0, 1.0)

    @property
    def crypto(self) -> NDArray[np.bool_]:
        """Which rows are spot or perpetual crypto."""
        return np.isin(np.array(self.text("asset_type")), ("spot", "perp"))

    def _column(self, name: str) -> pl.Series:
        require_columns(self.frame, (name,))
        return self.frame.get_column(name)


def require_columns(frame: pl.DataFrame, names: Sequence[str]) -> None:
    """Raise `FEATURE_COLUMN_MISSING` (exit 3) unless every column is there; none is ever defaulted."""
    missing = sorted(set(names) - set(frame.columns))
    if missing:
        raise ContractError(
            "FEATURE_COLUMN_MISSING",
            f"feature columns are missing: {', '.join(missing[:5])}",
            where=f"features:{missing[0]}",
            remedy="quantctl data features",
            details={"columns": missing[:20]},
        )
