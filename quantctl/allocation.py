"""The allocation kernels as a library: pure functions on NumPy arrays.

    from quantctl.allocation import Problem, equal_risk
    equal_risk(Problem(cov)).weights

`Problem` validates its data, a kernel returns a `Result`, `check_kkt` judges any claim of optimality.
Solvers are imported by the first kernel that needs one.
"""

from __future__ import annotations

from quantctl.steps.l4_allocation.antifragility import antifragility
from quantctl.steps.l4_allocation.barbell import barbell
from quantctl.steps.l4_allocation.beta import Beta, estimate_beta
from quantctl.steps.l4_allocation.caps import cluster_groups, effective_caps
from quantctl.steps.l4_allocation.certificate import explain_infeasibility
from quantctl.steps.l4_allocation.conditioning import Conditioned, condition_correlation
from quantctl.steps.l4_allocation.covariance import Covariance, estimate_covariance
from quantctl.steps.l4_allocation.equal_risk import equal_risk, risk_budget
from quantctl.steps.l4_allocation.equal_weight import equal_weight
from quantctl.steps.l4_allocation.hrp import hrp
from quantctl.steps.l4_allocation.kkt import check_kkt
from quantctl.steps.l4_allocation.problem import Group, Kkt, Problem, Result
from quantctl.steps.l4_allocation.projection import project_capped
from quantctl.steps.l4_allocation.quadratic import max_sharpe, min_variance
from quantctl.steps.l4_allocation.risk_model import RiskModel, estimate_risk_model

__all__ = [
    "Beta", "Conditioned", "Covariance", "Group", "Kkt", "Problem", "Result", "RiskModel", "antifragility",
    "barbell", "check_kkt", "cluster_groups", "condition_correlation", "effective_caps", "equal_risk",
    "equal_weight", "estimate_beta", "estimate_covariance", "estimate_risk_model", "explain_infeasibility",
    "hrp", "max_sharpe", "min_variance", "project_capped", "risk_budget",
]  # fmt: skip
