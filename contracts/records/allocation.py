"""How the weights came about: attempts, residuals, multipliers, certificates."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class AttemptTrace(_Record):
    """One rung of the solver ladder."""

    rung: str
    outcome: str
    code: str | None = None
    iterations: int
    factorisations: int
    residuals: dict[str, Finite]


class Nearest(_Record):
    """The nearest feasible value of a family of constraints; null, with a reason, if it cannot help.

    `setting` is the key of the profile to change, where there is one.
    """

    family: str
    declared: Finite
    feasible: Finite | None
    reason: str | None = None
    setting: str | None = None


class Certificate(_Record):
    """Proof that constraints conflict: an irreducible set with verified Farkas multipliers."""

    code: str
    conflicting: list[str]
    multipliers: dict[str, Finite]
    verified: Literal[True]
    residual: Finite
    nearest: list[Nearest]
    message: str


class ProfileTrace(_Record):
    """One risk profile: what was tried, how optimal the result is, what was given up.

    `target` is the profile that was asked, for `adaptive` that of the quadrant (null in older runs); `used`
    is the one whose weights these are. `kkt` and `duals` are of the scaled problem. `notes` are facts of the
    kernel (split options, leaf order, ratio with and without penalty, aggressor share) and of the stage
    (exposure, turnover, weights across clusters).
    """

    status: str
    used: str
    target: str | None = None
    attempts: list[AttemptTrace]
    kkt: dict[str, Finite] | None
    objective: Finite | None
    objective_penalised: Finite | None
    duals: dict[str, Finite]
    active: list[str]
    warnings: list[str]
    dropped: list[str]
    certificate: Certificate | None
    notes: dict[str, Any]


class Window(_Record):
    """Rows of the streams that were used."""

    first: str
    last: str
    rows: int = Field(ge=1)


class ModelTrace(_Record):
    """Conditioning and shrinkage of the window's risk model."""

    kappa_before: Finite | None
    kappa_before_reason: Literal["CORR_SINGULAR"] | None = None
    kappa_after: Finite
    kappa_limit: Finite
    intensity: Finite
    covariance: str
    shrinkage: Finite
    degenerate: list[str]
    duplicates: list[tuple[str, str]]


class AllocationTrace(_Record):
    """`data/allocation_trace.json`."""

    schema_: Literal["quantctl.allocation_trace/1"] = Field("quantctl.allocation_trace/1", alias="schema")
    run_id: str
    allocation_ids: dict[str, str]
    kernel_version: str
    engine: str
    window: Window
    atoms: list[str]
    benchmark: str | None
    benchmark_rows: int
    model: ModelTrace
    profiles: dict[str, ProfileTrace]


class ProfileCertificate(Certificate):
    """The certificate of one risk profile."""

    profile: str


class Infeasibility(_Record):
    """`data/infeasibility.json`: present only if some risk profile was infeasible."""

    schema_: Literal["quantctl.infeasibility/1"] = Field("quantctl.infeasibility/1", alias="schema")
    run_id: str
    certificates: list[ProfileCertificate] = Field(min_length=1)
