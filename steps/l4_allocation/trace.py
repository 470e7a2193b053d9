"""The records of an allocation beside its weights: trace, risk model, certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quantctl.contracts.canonical import hash_json
from quantctl.contracts.records.allocation import (
    AllocationTrace,
    AttemptTrace,
    Certificate,
    ModelTrace,
    ProfileCertificate,
    ProfileTrace,
)
from quantctl.contracts.records.allocation import Window as WindowTrace
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.stage import RunFacts
from quantctl.steps.l4_allocation.kernels.risk_model import RiskModel
from quantctl.steps.l4_allocation.ladder import Solved
from quantctl.steps.l4_allocation.weight_file import KERNEL_VERSION

if TYPE_CHECKING:
    from quantctl.steps.l4_allocation.allocation import Exposure, Window

Array = NDArray[np.float64]

SINGULAR_KAPPA = 1.0 / np.finfo(np.float64).eps
# Which key of a profile relaxes a family of constraints.
SETTINGS = {
    "beta": "allocation.beta.tolerance",
    "cluster_cap": "allocation.cluster_cap",
    "weight_max": "allocation.weight_max",
    "weight_min": "allocation.weight_min",
    "budget": "allocation.cash",
}


def allocation_ids(inputs: dict[str, str], settings: AllocationSettings) -> dict[str, str]:
    """Per profile, 16 hex characters over inputs, profile, resolved settings and kernel version."""
    resolved = settings.model_dump(mode="json")
    return {
        profile: hash_json([inputs, profile, resolved, KERNEL_VERSION])[:16]
        for profile in settings.risk_profiles
    }


def risk_model_frame(names: list[str], model: RiskModel, beta: Array | None) -> pl.DataFrame:
    """`risk_model.parquet`: the atoms with variance, in matrix order."""
    live = [name for name, kept in zip(names, model.keep, strict=True) if kept]
    return pl.DataFrame(
        {
            "atom": live,
            "vol": model.vol,
            "mu": model.mu,
            "beta": [None] * len(live) if beta is None else beta[model.keep],
            "corr": [row.tolist() for row in model.conditioned.corr],
        },
        schema={
            "atom": pl.String, "vol": pl.Float64, "mu": pl.Float64, "beta": pl.Float64,
            "corr": pl.List(pl.Float64),
        },
    )  # fmt: skip


def allocation_trace(
    window: Window,
    model: RiskModel,
    exposure: Exposure,
    solved: list[Solved],
    ids: dict[str, str],
    settings: AllocationSettings,
    run: RunFacts,
) -> AllocationTrace:
    """`allocation_trace.json`."""
    return AllocationTrace(
        run_id=run.run_id,
        allocation_ids=ids,
        kernel_version=KERNEL_VERSION,
        engine=settings.engine,
        window=WindowTrace(
            first=str(window.dates[0].date()), last=str(window.dates[-1].date()), rows=len(window.dates)
        ),
        atoms=window.names,
        benchmark=exposure.benchmark,
        benchmark_rows=exposure.rows,
        model=model_trace(window.names, model, settings),
        profiles={one.profile: profile_trace(one) for one in solved},
    )


def model_trace(names: list[str], model: RiskModel, settings: AllocationSettings) -> ModelTrace:
    """Conditioning, shrinkage, and the atoms that were left out or repeat each other."""
    live = [name for name, kept in zip(names, model.keep, strict=True) if kept]
    conditioned = model.conditioned
    singular = not conditioned.kappa_before < SINGULAR_KAPPA / len(live)
    return ModelTrace(
        kappa_before=None if singular else conditioned.kappa_before,
        kappa_before_reason="CORR_SINGULAR" if singular else None,
        kappa_after=conditioned.kappa_after,
        kappa_limit=settings.kappa_max,
        intensity=conditioned.intensity,
        covariance=settings.covariance.method,
        shrinkage=model.shrinkage,
        degenerate=[name for name, kept in zip(names, model.keep, strict=True) if not kept],
        duplicates=[(live[i], live[j]) for i, j in model.duplicates],
    )


def profile_trace(one: Solved) -> ProfileTrace:
    """Attempts of the profile itself, then of its replacement, and the residuals of what was accepted."""
    replaced = () if one.first is one.result else one.first.attempts
    result = one.result
    return ProfileTrace(
        status=one.status,
        used=one.used,
        target=one.target,
        attempts=[
            AttemptTrace(
                rung=a.rung, outcome=a.outcome, code=a.code, iterations=a.iterations,
                factorisations=a.factorisations, residuals=_finite(a.residuals),
            )
            for a in (*replaced, *result.attempts)
        ],
        kkt=_finite(result.kkt.residuals()) if result.kkt else None,
        objective=result.objective,
        objective_penalised=result.objective_penalised,
        duals=result.duals,
        active=list(result.active),
        warnings=list(result.warnings),
        dropped=list(one.dropped),
        certificate=Certificate(**_actionable(one.first.certificate)) if one.first.certificate else None,
        notes=result.notes,
    )  # fmt: skip


def certificates(solved: list[Solved]) -> list[ProfileCertificate]:
    """Certificates of the profiles that were infeasible, in the order of the profiles."""
    return [
        ProfileCertificate(profile=one.profile, **_actionable(one.first.certificate))
        for one in solved
        if one.first.certificate is not None
    ]


def _actionable(certificate: dict[str, Any]) -> dict[str, Any]:
    """The kernel's certificate, each nearest value beside the setting that takes it."""
    nearest = [entry | {"setting": SETTINGS.get(entry["family"])} for entry in certificate["nearest"]]
    return certificate | {"nearest": nearest}


def _finite(residuals: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in residuals.items() if np.isfinite(value)}
