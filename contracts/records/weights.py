"""The two weight files: solver space (atoms) and physical space (symbols).

Row keys keep the spelling of the v2 interchange format; envelope keys are snake_case. Unknown keys are
refused, and a weight is a finite number.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA: Literal["quantctl.portfolio/2.1"] = "quantctl.portfolio/2.1"
SolverStatus = Literal["OPTIMAL", "FALLBACK", "INFEASIBLE", "SKIPPED"]
PhysicalStatus = Literal["OPTIMAL", "FALLBACK", "INFEASIBLE", "SKIPPED", "ALL_CASH"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Attempted(_Record):
    """One entry of a fallback chain: a profile, how it ended and the code that says why."""

    profile: str
    outcome: str
    code: str | None = None


class SolverAsset(_Record):
    """Weight of an atom. `Direction` is LONG for SHORT atoms too: their streams are turned already."""

    Symbol: str
    Weight: Share
    Net_Weight: Finite
    Direction: Literal["LONG"] = "LONG"
    Cluster_ID: str | None
    Cluster_Weight: Finite | None
    Intra_Cluster_Weight: Finite | None
    Type: Literal["CORE", "AGGRESSOR", "BASELINE"]
    Description: str | None = None
    Sector: str | None = None
    Market: str | None = None


class SolverCluster(_Record):
    """Sum over the held members of a cluster."""

    Cluster_ID: str
    Cluster_Label: str
    Gross_Weight: Share
    Net_Weight: Finite
    Lead_Asset: str
    Asset_Count: int
    Type: Literal["CORE", "AGGRESSOR"]
    Sectors: list[str]


class SolverTotals(_Record):
    """gross = net = ΣWeight; gross + cash = 1 where weights exist."""

    gross: Share
    net: Finite
    cash: Share
    n_assets: int


class Constraints(_Record):
    """Declared and effective caps (null for baselines) and the portfolio's beta.

    `reason` names what a fallback gave up; `beta_reason` why beta is undefined.
    """

    cluster_cap: Share | None
    effective_cap: Share | None
    weight_cap: Share | None
    effective_weight_cap: Share | None
    cap_relaxed: bool
    beta: Finite | None
    beta_reason: str | None = None
    beta_tolerance: Share | None
    market_neutral: bool
    reason: str | None = None


class Conditioning(_Record):
    """Condition number of the correlation actually used, and how it came about."""

    kappa: Share
    kappa_limit: Share
    shrinkage: Share
    n_obs: int
    n_columns: int


class Solver(_Record):
    """Who produced the weights."""

    engine: Literal["cvxpy", "native"]
    formulation: str
    solver: str
    status: Literal[
        "OPTIMAL", "OPTIMAL_REDUCED_ACCURACY", "INFEASIBLE", "NON_POSITIVE_EXCESS", "DEGENERATE_INPUT",
        "INSUFFICIENT_HISTORY", "SOLVER_FAILED", "SKIPPED",
    ]  # fmt: skip
    iterations: int


class SolverProfile(_Record):
    """One risk profile in solver space; INFEASIBLE and SKIPPED have no assets."""

    status: SolverStatus
    reason: str | None
    fallback_chain: list[Attempted]
    assets: list[SolverAsset]
    clusters: list[SolverCluster]
    totals: SolverTotals
    constraints: Constraints
    conditioning: Conditioning
    solver: Solver


class RegisteredCluster(_Record):
    """Members of a cluster of streams, whether held or not."""

    symbols: list[str]
    primary_sector: str | None


class RegimeCopy(_Record):
    """What `regime.json` said."""

    name: str
    score: Finite
    quadrant: str


class Optimization(_Record):
    """Circumstances of the optimisation."""

    regime: RegimeCopy


class Metadata(_Record):
    """Versions, and whether the file is flattened."""

    code_version: str
    kernel_version: str
    flattened: bool


class _Envelope(_Record):
    schema_: Literal["quantctl.portfolio/2.1"] = Field(SCHEMA, alias="schema")
    run_id: str
    profile: str
    trace_id: str
    as_of: str
    annualisation: Literal[365, 252]
    inputs: dict[str, str]
    cluster_registry: dict[str, RegisteredCluster]
    optimization: Optimization
    metadata: Metadata


class SolverPortfolio(_Envelope):
    """`data/portfolio_optimized_v2.json`: weights of atoms, all risk profiles."""

    space: Literal["synthetic"] = "synthetic"
    profiles: dict[str, SolverProfile]


class Contributor(_Record):
    """An atom behind a symbol: its weight before the gate, its factor and its last-bar gate."""

    atom: str
    weight: Share
    factor: Literal[1, -1]
    gate: Literal[0, 1]


class PhysicalAsset(_Record):
    """Position in a symbol. Orders use `Net_Weight`, concentration uses `Weight`."""

    Symbol: str
    Weight: Share
    Gross_Weight: Share
    Net_Weight: Finite
    Netting: Share
    Direction: Literal["LONG", "SHORT", "FLAT"]
    Contributors: list[Contributor]
    Cluster_ID: str | None
    Description: str | None = None
    Sector: str | None = None
    Market: str | None = None


class Inactive(_Record):
    """An atom whose gate is off: its weight is gated cash."""

    atom: str
    weight: Share


class PhysicalTotals(_Record):
    """gross + gated_cash + cash = 1 and abs_net + netting = gross, within 1e-9."""

    gross: Share
    net: Finite
    abs_net: Share
    netting: Share
    cash: Share
    gated_cash: Share
    self_financing_cash: Finite
    n_assets: int
    long_gross: Share
    short_gross: Share


class PhysicalProfile(_Record):
    """One risk profile in physical space."""

    status: PhysicalStatus
    reason: str | None
    fallback_chain: list[Attempted]
    assets: list[PhysicalAsset]
    inactive: list[Inactive]
    totals: PhysicalTotals


class PhysicalPortfolio(_Envelope):
    """`data/portfolio_flattened.json`: positions in symbols, all risk profiles."""

    space: Literal["physical"] = "physical"
    profiles: dict[str, PhysicalProfile]
