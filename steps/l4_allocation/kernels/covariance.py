"""Covariance estimators: Ledoit–Wolf, oracle approximating shrinkage, sample.

With X centred, S = XᵀX/T, m = tr S / N and F = ‖S‖²_F, the shrinkage estimators are

    Σ = (1 − α) S + α m I

Ledoit & Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices:
    δ = (F − N m²)/N,  β = (T⁻¹ Σ_t ‖x_t‖⁴ − F)/(T N),  α = min(max(β, 0), δ)/δ   (0 if δ = 0)
Chen, Wiesel, Eldar & Hero (2010), Shrinkage algorithms for MMSE covariance estimation:
    α = min(1, (F/N² + m²)/((T+1)(F/N² − m²/N)))                                   (1 if it is 0/0)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.contracts.errors import ConfigError, ContractError

Array = NDArray[np.float64]
Intensity = Callable[[Array, float, float], float]

EPSILON = float(np.finfo(np.float64).eps)

_SKLEARN = {"graphical_lasso": "GraphicalLassoCV", "min_cov_det": "MinCovDet", "shrunk": "ShrunkCovariance"}


class Covariance(NamedTuple):
    """An estimate split into scale and dependence.

    cov : ndarray of shape (N, N), per bar²
    vol : ndarray of shape (N,), standard deviation per bar
    corr : ndarray of shape (N, N), unit diagonal
    intensity : shrinkage α in [0, 1]; 0 for estimators that do not shrink to the identity
    """

    cov: Array
    vol: Array
    corr: Array
    intensity: float


def estimate_covariance(
    returns: Array, method: str = "ledoit_wolf", options: dict[str, Any] | None = None, seed: int = 0
) -> Covariance:
    """Estimate the covariance of `returns`.

    Parameters
    ----------
    returns : ndarray of shape (T, N), simple returns per bar, finite, T ≥ 2
    method : ledoit_wolf, oas, sample, or a scikit-learn estimator: graphical_lasso, min_cov_det, shrunk
    options : keyword arguments of the scikit-learn estimators
    seed : seed of `min_cov_det`, the one estimator that draws

    `cov` and `corr` are symmetric to the bit. The estimators of this file take one symmetric product,
    T N² flops, and O(T N + N²) for the rest; no temporary is larger than T N or N².

    Raises
    ------
    ContractError : `NONFINITE_INPUT`, or `DEGENERATE_INPUT` where an asset has no variance
    ConfigError : `COVARIANCE_METHOD` for an unknown name
    """
    bars = len(returns)
    mean = np.full(bars, 1.0 / bars) @ returns
    # A value that is not finite leaves no finite mean of its column: N numbers tell what T N would.
    if not np.isfinite(mean).all():
        raise ContractError("NONFINITE_INPUT", "returns hold a value that is not finite", where="returns")
    cov, intensity = _estimate(returns - mean, method, options or {}, seed)
    vol = np.sqrt(cov.diagonal())
    # A constant column is centred to the rounding of its mean, not to zero.
    if not (vol > bars * EPSILON * np.abs(mean)).all():
        raise ContractError("DEGENERATE_INPUT", "an asset has no variance", where="returns")
    corr = np.outer(vol, vol)
    np.divide(cov, corr, out=corr)
    corr.reshape(-1)[:: len(corr) + 1] = 1.0
    return Covariance(cov, vol, corr, intensity)


def _estimate(centred: Array, method: str, options: dict[str, Any], seed: int) -> tuple[Array, float]:
    """Exactly symmetric covariance of `centred` and the shrinkage."""
    if method == "ledoit_wolf":
        return _shrunk_to_identity(centred, _ledoit_wolf_intensity)
    if method == "oas":
        return _shrunk_to_identity(centred, _oas_intensity)
    if method == "sample":
        product = _product(centred)
        product /= centred.shape[0] - 1
        return product, 0.0
    if method in _SKLEARN:
        cov = _sklearn(centred, method, options, seed)
        return (cov + cov.T) / 2.0, 0.0
    known = ", ".join(["ledoit_wolf", "oas", "sample", *_SKLEARN])
    raise ConfigError(
        "COVARIANCE_METHOD", f"unknown covariance method {method!r}",
        where="allocation.covariance.method", remedy=f"use one of {known}",
    )  # fmt: skip


def _product(centred: Array) -> Array:
    """XᵀX. NumPy gives a product with its own transpose to dsyrk: half the flops, and the other triangle is
    copied, so the result is symmetric to the bit."""
    return np.asarray(centred.T @ centred, dtype=np.float64)


def _shrunk_to_identity(centred: Array, intensity_of: Intensity) -> tuple[Array, float]:
    product = _product(centred)
    bars, assets = centred.shape
    flat = product.reshape(-1)
    diagonal = flat[:: assets + 1]
    mean_variance = float(diagonal.sum()) / (assets * bars)
    alpha = intensity_of(centred, mean_variance, float(flat @ flat) / bars**2)
    flat *= (1.0 - alpha) / bars
    diagonal += alpha * mean_variance
    return product, alpha


def _ledoit_wolf_intensity(centred: Array, mean_variance: float, frobenius: float) -> float:
    bars, assets = centred.shape
    delta = (frobenius - assets * mean_variance**2) / assets
    squares = np.einsum("tn,tn->t", centred, centred)
    beta = (float(squares @ squares) / bars - frobenius) / (bars * assets)
    return min(max(beta, 0.0), delta) / delta if delta > 0.0 else 0.0


def _oas_intensity(centred: Array, mean_variance: float, frobenius: float) -> float:
    bars, assets = centred.shape
    mean_square = frobenius / assets**2
    denominator = (bars + 1) * (mean_square - mean_variance**2 / assets)
    return min(1.0, (mean_square + mean_variance**2) / denominator) if denominator > 0.0 else 1.0


def _sklearn(centred: Array, method: str, options: dict[str, Any], seed: int) -> Array:
    from sklearn import covariance as estimators
    from sklearn.model_selection import TimeSeriesSplit

    arguments: dict[str, Any] = dict(options)
    if method == "graphical_lasso":
        arguments.setdefault("cv", TimeSeriesSplit(5))
    if method == "min_cov_det":
        arguments.setdefault("random_state", seed)
    fitted = getattr(estimators, _SKLEARN[method])(**arguments).fit(centred)
    return np.asarray(fitted.covariance_, dtype=np.float64)
