"""The arrays of a problem: read-only copies, checked once.

Everything here raises `PROBLEM_INVALID` with the field in `where`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ContractError

Array = NDArray[np.float64]

# Largest |Σ − Σ'| beside the largest |Σ|.
SYMMETRIC = 1e-12
TILE = 128


def frozen(values: Any) -> Array:
    """A read-only copy."""
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


@lru_cache(maxsize=32)
def constant(size: int, value: float) -> Array:
    """N times one value."""
    return frozen(np.full(size, value))


@lru_cache(maxsize=32)
def numbers(size: int) -> tuple[str, ...]:
    """The names "0" .. "N-1"."""
    return tuple(str(i) for i in range(size))


def invalid(where: str, reason: str) -> ContractError:
    """The error of one field."""
    return ContractError("PROBLEM_INVALID", f"{where}: {reason}", where=f"problem.{where}")


def vector(values: Any, size: int, name: str) -> Array:
    """A finite vector of shape (N,)."""
    array = frozen(values)
    if array.shape != (size,):
        raise invalid(name, f"shape {array.shape}, expected ({size},)")
    if not np.isfinite(array).all():
        raise invalid(name, "not finite")
    return array


def check_covariance(cov: Array) -> None:
    """Refuse what is not square, finite, symmetric with positive variances."""
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1] or cov.shape[0] == 0:
        raise invalid("cov", f"shape {cov.shape}, expected (N, N) with N > 0")
    largest = max(float(cov.max()), -float(cov.min()))
    if not np.isfinite(largest):  # NaN and infinities show in the extremes
        raise invalid("cov", "not finite")
    if _asymmetry(cov) > SYMMETRIC * largest:
        raise invalid("cov", "not symmetric")
    if not (cov.diagonal() > 0.0).all():
        raise invalid("cov", "a variance is not positive")


def _asymmetry(cov: Array) -> float:
    """max |Σ − Σ'|, tile by tile of the upper triangle: no temporary of order N², no column strides."""
    size, worst = len(cov), 0.0
    for i in range(0, size, TILE):
        for j in range(i, size, TILE):
            upper, lower = cov[i : i + TILE, j : j + TILE], cov[j : j + TILE, i : i + TILE].T
            if not (upper == lower).all():
                worst = max(worst, float(np.abs(upper - lower).max()))
    return worst
