"""The allocation kernels as a library: pure functions on NumPy arrays.

    from quantctl.allocation import Problem, equal_risk
    equal_risk(Problem(cov)).weights

`Problem` validates its data, a kernel returns a `Result`, `check_kkt` judges any claim of optimality.
Solvers are imported by the first kernel that needs one.
"""

from __future__ import annotations

from quantctl.steps.l4_allocation.kernels.antifragility import antifragility
from quantctl.steps.l4_allocation.kernels.barbell import barbell
from quantctl.steps.l4_allocation.kernels.beta import Beta, estimate_beta
from quantctl.steps.l4_allocation.kernels.caps import cluster_groups, effective_caps
from quantctl.steps.l4_allocation.kernels.certificate import explain_infeasibility
from quantctl.steps.l4_allocation.kernels.conditioning import Conditioned, condition_correlation
from quantctl.steps.l4_allocation.kernels.covariance import Covariance, estimate_covariance
from quantctl.steps.l4_allocation.kernels.equal_risk import equal_risk, risk_budget
from quantctl.steps.l4_allocation.kernels.equal_weight import equal_weight
from quantctl.steps.l4_allocation.kernels.herc import herc
from quantctl.steps.l4_allocation.kernels.hrp import hrp
from quantctl.steps.l4_allocation.kernels.kkt import check_kkt
from quantctl.steps.l4_allocation.kernels.max_diversification import max_diversification
from quantctl.steps.l4_allocation.kernels.max_sharpe import max_sharpe
from quantctl.steps.l4_allocation.kernels.mean_variance import mean_variance
from quantctl.steps.l4_allocation.kernels.min_cvar import min_cvar
from quantctl.steps.l4_allocation.kernels.min_variance import min_variance
from quantctl.steps.l4_allocation.kernels.problem import Group, Kkt, Problem, Result
from quantctl.steps.l4_allocation.kernels.projection import project_capped
from quantctl.steps.l4_allocation.kernels.risk_model import RiskModel, estimate_risk_model

__all__ = [
    "Beta", "Conditioned", "Covariance", "Group", "Kkt", "Problem", "Result", "RiskModel", "antifragility",
    "barbell", "check_kkt", "cluster_groups", "condition_correlation", "effective_caps", "equal_risk",
    "equal_weight", "estimate_beta", "estimate_covariance", "estimate_risk_model", "explain_infeasibility",
    "herc", "hrp", "max_diversification", "max_sharpe", "mean_variance", "min_cvar", "min_variance",
    "project_capped", "risk_budget",
]  # fmt: skip
