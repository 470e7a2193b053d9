"""One thread for everybody: set when this module is imported, verified while a benchmark runs.

The variables reach every library that is loaded later, `pin` those that are loaded already. A peer that
sets its own number of threads is found by `verified`, and the benchmark refuses.
"""

from __future__ import annotations

import os

VARIABLES = (
    "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS", "POLARS_MAX_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
for _name in VARIABLES:
    os.environ[_name] = "1"


class ThreadsError(Exception):
    """A pool of some library has more than one thread, so its figures may not be compared."""


def pin() -> None:
    """Limit the pools of libraries that were loaded before this module."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def verified() -> int:
    """The number of threads of the widest pool, which is 1; raises `ThreadsError`."""
    from threadpoolctl import threadpool_info

    wide = {pool["filepath"].rsplit("/", 1)[-1]: pool["num_threads"] for pool in threadpool_info()}
    if any(count != 1 for count in wide.values()):
        raise ThreadsError(str(wide))
    return 1
