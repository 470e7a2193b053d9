"""CPU time of several parties in one process, one after the other, round by round (A B A B …).

A party prepares a call outside the clock; the clock sees the call alone. Threads are verified before and
after. The unit of our own kernels is one LAPACK Cholesky factorisation of the same N in the same process.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import threads
from numpy.typing import NDArray

Array = NDArray[np.float64]
Call = Callable[[], Any]

ROUNDS = 7
FEW = 3
MANY = 41
LONG = 5.0
SHARE = 0.6


def rounds_for(seconds: float) -> int:
    """How often a call of this length is repeated: 7 to 41 times within about 0.6 s, 3 above 5 s."""
    if seconds > LONG:
        return FEW
    return max(ROUNDS, min(MANY, int(SHARE / max(seconds, 1e-6))))


def timed(call: Call) -> tuple[float, Any]:
    """CPU seconds of one call, and its answer."""
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        answer = call()
        return time.process_time() - start, answer
    finally:
        gc.enable()


def alternate(parties: Mapping[str, Callable[[], Call]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each party and round, taken in turn.

    What stands in memory before is frozen, so that the collection before each call sees only what the
    calls made: the peers' modules hold a million objects.
    """
    threads.verified()
    gc.collect()
    gc.freeze()
    spent: dict[str, list[float]] = {name: [] for name in parties}
    for _ in range(rounds):
        for name, prepare in parties.items():
            spent[name].append(timed(prepare())[0])
    gc.unfreeze()
    threads.verified()
    return spent


def cholesky(cov: Array) -> tuple[Callable[[], Call], int]:
    """A party that factorises copies of `cov`, and how many at a time (small ones need several)."""
    from scipy.linalg.lapack import dpotrf

    count = max(1, min(64, 32768 // cov.shape[0] ** 2))
    source = np.asfortranarray(cov)

    def prepare() -> Call:
        copies = [source.copy(order="F") for _ in range(count)]

        def call() -> int:
            return sum(dpotrf(copy, lower=1, clean=0, overwrite_a=1)[1] for copy in copies)

        return call

    return prepare, count


def in_choleskys(prepare: Callable[[], Call], cov: Array, seconds: float) -> list[float]:
    """Our call in Choleskys of the same N, once per round; `seconds` is a first guess of its length."""
    factorise, count = cholesky(cov)
    spent = alternate({"unit": factorise, "ours": prepare}, max(9, rounds_for(seconds)))
    unit = float(np.median(spent["unit"])) / count
    return worse_of_units(spent["ours"], [u / count for u in spent["unit"]], unit)


def worse_of_units(ours: Sequence[float], units: Sequence[float], unit: float) -> list[float]:
    """Figures per round over the paired unit or over its median, whichever has the larger median."""
    paired = [mine / one for mine, one in zip(ours, units, strict=True)]
    overall = [mine / unit for mine in ours]
    return max(paired, overall, key=lambda figures: float(np.median(figures)))
