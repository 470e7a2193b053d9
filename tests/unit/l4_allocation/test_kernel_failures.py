"""Kernels that cannot answer: each failure has its code, and none of them is weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quantctl.allocation import (
    Group,
    Problem,
    effective_caps,
    equal_weight,
    estimate_covariance,
    hrp,
    max_sharpe,
    min_variance,
    project_capped,
)
from quantctl.contracts.errors import ConfigError, InternalError, SolverFailed
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.steps.l4_allocation.kernels.excess import largest_excess
from quantctl.steps.l4_allocation.ladder import failure_code, refusal, run_profile
from quantctl.steps.l4_allocation.profiles import Setting
from quantctl.steps.l4_allocation.weight_file import boundary


def setting_of(cov, labels, scores=None, **keys):
    """What `run_profile` needs of a window, for atoms with cluster `labels`."""
    settings = AllocationSettings(**keys)
    caps = effective_caps(labels, settings.cluster_cap, settings.weight_max)
    return Setting(
        base=Problem(cov), labels=tuple(labels), caps=caps, beta=None, scores=scores, regime="NORMAL",
        quadrant="NORMAL", settings=settings,
    )  # fmt: skip


def test_a_covariance_method_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ConfigError) as caught:
        estimate_covariance(np.random.default_rng(0).normal(size=(50, 3)), "median")
    error = caught.value
    assert (error.code, error.exit_code) == ("COVARIANCE_METHOD", 2)
    assert error.where == "allocation.covariance.method" and "ledoit_wolf" in error.remedy


def test_group_limits_that_contradict_each_other_are_named():
    legs = np.array([True, True, False])
    groups = (Group("floor", legs, 0.6, None), Group("lid", legs, None, 0.4))
    result = min_variance(Problem(np.eye(3), groups=groups))
    assert (result.status, result.weights) == ("INFEASIBLE", None)
    assert result.certificate["code"] == failure_code(result) == "INFEASIBLE_GROUPS"
    assert result.certificate["conflicting"] == ["group[floor].min", "group[lid].max"]
    assert hrp(Problem(np.eye(3), groups=groups)).certificate["code"] == "INFEASIBLE_GROUPS"


def test_a_missing_antifragility_score_is_never_invented():
    """No score, no barbell: the chain goes on, or stops where none is declared."""
    labels = [str(i) for i in range(6)]
    scores = np.array([0.9, 0.5, np.nan, 0.1, 0.2, 0.3])
    replaced = run_profile("barbell", setting_of(np.eye(6), labels, scores))
    assert (replaced.status, replaced.reason, replaced.used) == ("FALLBACK", "ANTIFRAGILITY_MISSING", "erc")
    alone = run_profile("barbell", setting_of(np.eye(6), labels, scores, fallback=()))
    error = refusal(alone)
    assert (error.code, error.exit_code) == ("ANTIFRAGILITY_MISSING", 4)
    assert error.details == {"profile": "barbell", "status": "DEGENERATE_INPUT"}


def test_weights_no_solver_can_project_are_not_called_an_empty_polytope():
    """The conic solver takes 1e154 for infeasible; without a certificate that is its own failure."""
    problem = Problem(np.eye(3), upper=np.full(3, 0.5))
    for far in (1e8, 1e16, 1e100):
        assert project_capped(np.array([far, -far, far]), problem) == pytest.approx([0.5, 0.0, 0.5])
    with pytest.raises(SolverFailed) as caught:
        project_capped(np.array([1e154, -1e154, 1e154]), problem)
    assert (caught.value.code, caught.value.exit_code) == ("PROJECTION_FAILED", 4)
    empty = replace(problem, upper=np.full(3, 0.3))
    assert project_capped(np.full(3, 1 / 3), empty) is None


def test_a_program_of_the_excess_without_an_answer_is_our_own_fault():
    """Costs of 1e20 are infinite to the linear solver; the profile scales them away before it asks."""
    problem = Problem(np.eye(3), mu=np.full(3, 1e20))
    with pytest.raises(InternalError) as caught:
        largest_excess(problem)
    assert (caught.value.code, caught.value.exit_code) == ("EXCESS_PROGRAM", 70)
    assert max_sharpe(problem).weights == pytest.approx(equal_weight(problem).weights)


def test_dust_that_carries_a_constraint_is_not_dropped_in_silence():
    """A hundred floors of 0.99e-9 hold three weights at their cap: without them the rest no longer fits."""
    vol = np.array([0.03, 0.03, 0.03, 0.05] + [1.0] * 100)
    cov = np.outer(vol, vol) * (0.9 + 0.1 * np.eye(104))
    labels = [str(i) for i in range(104)]
    solved = run_profile("min_variance", setting_of(cov, labels, weight_min=0.99e-9))
    assert solved.status == "OPTIMAL" and 0.0 < solved.result.weights[-1] < 1e-9
    with pytest.raises(InternalError, match="min_variance") as caught:
        boundary(solved)
    assert (caught.value.code, caught.value.exit_code) == ("ALLOCATION_DUST", 70)
    kept = boundary(run_profile("min_variance", setting_of(cov, labels)))
    assert kept.sum() == pytest.approx(1.0, abs=1e-12) and kept.max() <= 0.25 + 1e-8
