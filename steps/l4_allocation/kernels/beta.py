"""Beta of streams to a benchmark: β_i = cov(stream_i, b) / var(b), ddof 1.

Streams of SHORT atoms already carry the negative sign, so w'β is the true net beta of a portfolio.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import DataUnhealthy

Array = NDArray[np.float64]

MIN_COMMON_BARS = 10
MIN_VARIANCE = 1e-18


class Beta(NamedTuple):
    """beta : ndarray of shape (N,); assumed : too few bars, all ones; n_obs : common bars used."""

    beta: Array
    assumed: bool
    n_obs: int


def estimate_beta(streams: Array, benchmark: Array) -> Beta:
    """Regression slope of every stream on the benchmark.

    Parameters
    ----------
    streams : ndarray of shape (T, N), simple returns per bar on the dates common with the benchmark
    benchmark : ndarray of shape (T,), raw simple returns on the same dates

    With fewer than 10 common bars β = 1 and `assumed` is set.

    Raises
    ------
    DataUnhealthy : `BENCHMARK_DEGENERATE` where var(benchmark) ≤ 1e-18
    """
    bars = streams.shape[0]
    if bars < MIN_COMMON_BARS:
        return Beta(np.ones(streams.shape[1]), True, bars)
    centred = benchmark - benchmark.mean()
    variance = float(centred @ centred) / (bars - 1)
    if variance <= MIN_VARIANCE:
        raise DataUnhealthy(
            "BENCHMARK_DEGENERATE", f"the benchmark's variance over {bars} bars is {variance:.3g}",
            where="allocation.beta.benchmark", remedy="choose another allocation.beta.benchmark",
        )  # fmt: skip
    slopes = (streams - streams.mean(axis=0)).T @ centred / (bars - 1) / variance
    return Beta(np.asarray(slopes, dtype=np.float64), False, bars)
