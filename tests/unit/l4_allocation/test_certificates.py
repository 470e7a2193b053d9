"""Certificates as a person reads them: the rows, the nearest value, the setting to change."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from quantctl.allocation import Group, Problem, explain_infeasibility, min_variance
from quantctl.conflicts import in_words

SIX = np.eye(6)


def nearest(problem: Problem) -> dict[str, dict]:
    return {entry["family"]: entry for entry in explain_infeasibility(problem)["nearest"]}


def test_asset_caps_that_do_not_reach_one_name_the_smallest_cap_and_the_attainable_sum():
    problem = Problem(SIX, upper=np.full(6, 0.15))
    certificate = explain_infeasibility(problem)
    assert certificate["code"] == "INFEASIBLE_CAPS"
    assert certificate["conflicting"] == ["budget", *(f"weight_max[{i}]" for i in range(6))]
    found = nearest(problem)
    assert found["weight_max"]["feasible"] == pytest.approx(1 / 6, rel=1e-12)
    assert found["budget"]["feasible"] == pytest.approx(0.9, rel=1e-12)


def test_floors_above_one_name_the_largest_floor_and_the_attainable_sum():
    found = nearest(Problem(SIX, lower=np.full(6, 0.2)))
    assert explain_infeasibility(Problem(SIX, lower=np.full(6, 0.2)))["code"] == "INFEASIBLE_BOUNDS"
    assert found["weight_min"]["feasible"] == pytest.approx(1 / 6, rel=1e-12)
    assert found["budget"]["feasible"] == pytest.approx(1.2, rel=1e-12)


def test_cluster_caps_that_do_not_reach_one_name_the_smallest_uniform_cap():
    labels = np.arange(6) % 3
    groups = tuple(Group(str(k), labels == k, None, cap, "cluster") for k, cap in enumerate((0.3, 0.2, 0.1)))
    found = nearest(Problem(SIX, groups=groups))
    assert found["cluster_cap"]["declared"] == 0.1
    assert found["cluster_cap"]["feasible"] == pytest.approx(1 / 3, rel=1e-12)


def test_each_group_limit_is_a_family_of_its_own():
    legs = np.array([1, 1, 0, 0, 0, 0], dtype=bool)
    groups = (Group("tech", legs, 0.6), Group("lid", legs, None, 0.4))
    found = nearest(Problem(SIX, groups=groups))
    assert found["group[tech].min"]["feasible"] == pytest.approx(0.4)
    assert found["group[lid].max"]["feasible"] == pytest.approx(0.6)
    assert "budget" not in found


def test_a_group_that_its_members_cannot_fill_names_both_ways_out():
    legs = np.array([1, 1, 0, 0, 0, 0], dtype=bool)
    problem = Problem(SIX, upper=np.full(6, 0.25), groups=(Group("tech", legs, 0.6),))
    certificate = explain_infeasibility(problem)
    assert certificate["conflicting"] == ["weight_max[0]", "weight_max[1]", "group[tech].min"]
    found = nearest(problem)
    assert found["group[tech].min"]["feasible"] == pytest.approx(0.5)
    assert found["weight_max"]["feasible"] == pytest.approx(0.3)


def test_a_beta_row_names_the_smallest_tolerance_in_closed_form():
    """The least β'w under a cap of a quarter is the mean of the four smallest betas."""
    beta = np.array([0.9, 1.4, 0.7, 1.1, 0.8, 1.3])
    problem = Problem(SIX, upper=np.full(6, 0.25), beta=beta)
    certificate = explain_infeasibility(problem)
    assert certificate["code"] == "INFEASIBLE_BETA"
    assert nearest(problem)["beta"]["feasible"] == pytest.approx(np.sort(beta)[:4].mean(), rel=1e-12)
    shorts = nearest(replace(problem, beta=-beta))
    assert shorts["beta"]["feasible"] == pytest.approx(np.sort(beta)[:4].mean(), rel=1e-12)


def test_a_family_that_cannot_help_alone_says_what_stays_in_conflict():
    problem = Problem(SIX, upper=np.full(6, 0.25), beta=np.full(6, 2.0), beta_tol=0.1)
    found = nearest(problem)
    assert found["beta"]["feasible"] == pytest.approx(2.0)
    for family in ("weight_max", "weight_min"):
        if family in found:
            assert found[family]["feasible"] is None
            assert "beta.upper" in found[family]["reason"] or "below 0" in found[family]["reason"]


def test_no_negative_bound_is_offered_to_a_long_only_portfolio():
    problem = Problem(np.eye(3), beta=np.array([1.0, 2.0, 2.5]), beta_tol=0.9)
    assert min_variance(problem).status == "INFEASIBLE"
    entry = nearest(problem)["weight_min"]
    assert entry["feasible"] is None and entry["reason"].startswith("only a bound below 0 would help")


@pytest.mark.parametrize("seed", range(20))
def test_the_printed_tolerance_works_when_it_is_typed_in(seed):
    rng = np.random.default_rng(seed)
    problem = Problem(SIX, upper=np.full(6, 0.3), beta=rng.uniform(0.4, 1.7, 6))
    printed = re.search(r"beta = (\S+)", explain_infeasibility(problem)["message"])
    assert explain_infeasibility(replace(problem, beta_tol=float(printed[1]))) is None


def test_every_row_of_the_conflict_can_be_dropped_to_end_it():
    problem = Problem(SIX, upper=np.full(6, 0.15))
    for dropped in range(6):
        upper = np.full(6, 0.15)
        upper[dropped] = 1.0
        assert explain_infeasibility(replace(problem, upper=upper)) is None


def test_permuted_atoms_have_the_same_conflict_and_the_same_nearest_values():
    rng = np.random.default_rng(1)
    order, beta = rng.permutation(6), rng.uniform(0.5, 1.5, 6)
    names = tuple("abcdef")
    problem = Problem(SIX, upper=np.full(6, 0.3), beta=beta, names=names)
    shuffled = replace(problem, beta=beta[order], names=tuple(names[i] for i in order))
    ours, theirs = explain_infeasibility(problem), explain_infeasibility(shuffled)
    assert sorted(ours["conflicting"]) == sorted(theirs["conflicting"])
    for one, other in zip(ours["nearest"], theirs["nearest"], strict=True):
        assert one["feasible"] == pytest.approx(other["feasible"], abs=1e-12)


def test_a_certificate_in_words_names_the_setting_and_its_conditions():
    certificate = explain_infeasibility(Problem(SIX, upper=np.full(6, 0.15), beta=np.linspace(0.5, 1, 6)))
    assert certificate["code"] == "INFEASIBLE_CAPS"
    told = [
        ("beta", 0.15, 0.55, None, "allocation.beta.tolerance"),
        ("weight_max", 0.1, None, "why", "allocation.weight_max"),
        ("group[g].max", 0.1, 0.2, None, None),
        ("budget", 1.0, 0.3, None, "allocation.cash"),
    ]
    keys = ("family", "declared", "feasible", "reason", "setting")
    entries = [dict(zip(keys, entry, strict=True)) for entry in told]
    text = in_words(
        certificate | {"profile": "market_neutral", "code": "INFEASIBLE_BETA", "nearest": entries}
    )
    lines = text.splitlines()
    assert lines[0] == "market_neutral is infeasible (INFEASIBLE_BETA)"
    assert lines[1] == certificate["message"]
    assert re.search(r"allocation\.beta\.tolerance +0\.15 +0\.55 +needs allocation\.beta\.waiver", text)
    assert re.search(r"allocation\.weight_max +0\.1 +- +why", text)
    assert re.search(r"group\[g\]\.max +0\.1 +0\.2", text)
    assert re.search(r"sum of weights +1 +0\.3 +allocation\.cash: allowed keeps a rest in cash", text)
