"""The nearest tolerance at which an empty set has a point, one family of constraints at a time.

A ray's value φ is linear in a limit t, so a ray proves emptiness up to the t where its φ reaches zero.
Newton's step goes there and asks for the next ray (Dinkelbach's method on the largest −φ): rays are
finitely many, t moves one way, and the t at which no ray is left is exact. A ray that does not see t
proves that this family alone cannot help.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantctl.steps.l4_allocation.kernels.farkas import Polytope, Ray, find_ray, reduced, value

Array = NDArray[np.float64]

STEPS = 100
_SEEN = 1e-9


class Dial(NamedTuple):
    """One limit to turn.

    family : `beta`, `cluster_cap`, `weight_max`, `weight_min`, `group[name].min|max` or `budget`
    declared : its value now, of several the tightest
    start : where the search begins: no value before it can do
    turned : the set at a value;  slope : dφ/dt of a ray
    """

    family: str
    declared: float
    start: float
    turned: Callable[[float], Polytope]
    slope: Callable[[Ray], float]


class Nearest(NamedTuple):
    """The nearest value that leaves a point, or null with the ray that no value removes."""

    feasible: float | None
    obstacle: Ray | None


def nearest_value(dial: Dial) -> Nearest:
    """Turn `dial` until nothing proves the set empty. One fill or linear program per step."""
    value_now, way = dial.start, 0.0
    ray: Ray | None = None
    for _ in range(STEPS):
        turned = dial.turned(value_now)
        ray = find_ray(turned)
        if ray is None:
            return Nearest(value_now, None)
        slope = dial.slope(ray)
        if abs(slope) <= _SEEN * ray.size or slope * way < 0.0:
            return Nearest(None, reduced(turned, ray))
        way = slope
        value_now -= value(turned, ray) / slope
    return Nearest(None, ray)


def dial_of(polytope: Polytope, names: tuple[str, ...], family: str) -> Dial:
    """The dial of `family` over the rows `names` of `polytope`."""
    if family == "budget":
        return Dial(family, 1.0, polytope.total, lambda t: polytope._replace(total=t), lambda ray: ray.budget)
    if family == "weight_max":
        return _of_caps(polytope)
    if family == "weight_min":
        return _of_floors(polytope)
    rows = np.array([name.startswith(family) for name in names])
    sign = -1.0 if family.endswith("].min") else 1.0
    limits = sign * polytope.limit[rows]
    uniform = family != "cluster_cap" or bool((limits == limits[0]).all())
    return Dial(
        family, float(limits.min()), float(limits[0]) if uniform else float(polytope.lower.sum()) - 1.0,
        lambda t: polytope._replace(limit=np.where(rows, sign * t, polytope.limit)),
        lambda ray: sign * float(ray.rows[rows].sum()),
    )  # fmt: skip


def _of_caps(polytope: Polytope) -> Dial:
    """One upper bound for all."""
    upper = polytope.upper
    start = float(upper.min()) if upper.min() == upper.max() else float(polytope.lower.max())
    return Dial(
        "weight_max", float(upper.min()), start,
        lambda t: polytope._replace(upper=np.full(len(upper), t)),
        lambda ray: float(np.maximum(-ray.bounds, 0.0).sum()),
    )  # fmt: skip


def _of_floors(polytope: Polytope) -> Dial:
    """One lower bound for all."""
    lower = polytope.lower
    start = float(lower.max()) if lower.min() == lower.max() else float(polytope.upper.min())
    return Dial(
        "weight_min", float(lower.max()), start,
        lambda t: polytope._replace(lower=np.full(len(lower), t)),
        lambda ray: -float(np.maximum(ray.bounds, 0.0).sum()),
    )  # fmt: skip
