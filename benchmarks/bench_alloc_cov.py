"""cov: Ledoit–Wolf and OAS from returns, in Choleskys and against the peers' own estimators."""

from __future__ import annotations

import sys

import numpy as np
import peers
from allocation_data import Array, Case
from contest import Kernel, Method
from grades import Grade, relative
from lines import main
from measuring import Call

from quantctl.allocation import estimate_covariance


def ours(method: str) -> Method:
    """estimate_covariance."""

    def prepare(case: Case) -> Call:
        return lambda: estimate_covariance(case.returns, method).cov

    return Method("ours", prepare, inputs=returns)


def returns(case: Case) -> tuple[Array, ...]:
    """All that an estimator sees."""
    return (case.returns,)


def plain(case: Case, method: str) -> Array:
    """scikit-learn's estimate, which every peer wraps: an independent reading of the same papers."""
    from sklearn import covariance

    centred = case.returns - case.returns.mean(axis=0)
    estimator = {"ledoit_wolf": covariance.ledoit_wolf, "oas": covariance.oas}[method]
    return np.asarray(estimator(centred, assume_centered=True)[0])


def kernel(method: str) -> Kernel:
    """The claim of one estimator."""
    how = {
        "skfolio": (peers.skfolio_covariance, "store_precision=False, nearest=False"),
        "riskfolio": (peers.riskfolio_covariance, "ParamsEstimation.covar_matrix"),
        "pypfopt": (peers.pypfopt_covariance, "CovarianceShrinkage, returns_data=True"),
    }
    return Kernel(
        "cov", "LO", ours(method),
        lambda case, cov: Grade(None, 0.0, relative(cov, plain(case, method))),
        {
            name: Method(name, make(method), settings=text, inputs=returns)
            for name, (make, text) in how.items()
        },
        variant=method,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(kernel("ledoit_wolf"), kernel("oas")))
