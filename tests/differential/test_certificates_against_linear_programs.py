"""Certificates of random problems against linear programs of another solver, and against plain products.

Nothing of the product judges here: the inequalities are written out again, a set is empty where the least
violation that HiGHS finds over it is positive.
"""

from __future__ import annotations

import numpy as np
import pytest

from quantctl.allocation import Group, Problem, explain_infeasibility

ROUNDS, BATCH = 8, 50
EMPTY = 1e-9


def random_groups(rng, size: int) -> list[Group]:
    kind = rng.integers(4)
    if kind == 1:
        cap = float(rng.choice([0.1, 0.25, 0.3, 0.5, 0.6]))
        labels = rng.integers(0, rng.integers(1, 5), size)
        return [Group(str(k), labels == k, None, cap, "cluster") for k in range(labels.max() + 1)]
    groups = []
    labels = rng.integers(0, 3, size)
    for k in range(rng.integers(1, 4) if kind else 0):
        low, high = np.sort(rng.uniform(0.0, 0.8, 2))
        members = labels == k if kind == 2 else rng.random(size) < 0.5  # disjoint or overlapping
        sides = rng.integers(3)
        groups.append(Group(f"g{k}", members, low if sides != 1 else None, high if sides != 0 else None))
    return groups


def random_problem(seed: int) -> Problem:
    """About three in four are infeasible, for every reason there is."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 14))
    groups = random_groups(rng, size)
    upper = np.full(size, rng.choice([1.0, 0.1, 0.25, 0.3, 1 / size]))
    if rng.random() < 0.3:
        upper = rng.uniform(0.0, 1.0, size)
    lower = [np.zeros(size), np.full(size, rng.uniform(0.0, 0.3)), rng.uniform(-0.2, 0.2, size)]
    beta = rng.normal(1.0, 0.5, size) * (1.0 if rng.random() < 0.6 else rng.choice([-1.0, 1.0], size))
    return Problem(
        np.eye(size), lower=np.minimum(lower[rng.choice(3, p=[0.6, 0.2, 0.2])], upper), upper=upper,
        groups=tuple(groups), beta=beta if rng.random() < 0.6 else None,
        beta_tol=float(rng.choice([0.0, 0.05, 0.15])),
    )  # fmt: skip


def written_out(problem: Problem) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, A and b of A w ≤ b, without the budget."""
    size = problem.size
    rows = [(f"weight_min[{i}]", -np.eye(size)[i], -problem.lower[i]) for i in range(size)]
    rows += [(f"weight_max[{i}]", np.eye(size)[i], problem.upper[i]) for i in range(size)]
    for group in problem.groups:
        capped = f"cluster_cap[{group.name}]" if group.kind == "cluster" else f"group[{group.name}].max"
        if group.max is not None:
            rows.append((capped, 1.0 * group.members, group.max))
        if group.min is not None:
            rows.append((f"group[{group.name}].min", -1.0 * group.members, -group.min))
    if problem.beta is not None:
        rows += [
            ("beta.upper", problem.beta, problem.beta_tol),
            ("beta.lower", -problem.beta, problem.beta_tol),
        ]
    names, matrix, limit = zip(*rows, strict=True)
    return list(names), np.array(matrix), np.array(limit)


def violation(matrix, limit, *, total: float | None = 1.0) -> float:
    """The least largest violation of A w ≤ b over 1'w = total (any total if null)."""
    from scipy.optimize import linprog

    size = matrix.shape[1]
    if not len(limit):
        return 0.0
    budget = None if total is None else [[*np.ones(size), 0.0]]
    found = linprog(
        [*np.zeros(size), 1.0], np.column_stack([matrix, -np.ones(len(limit))]), limit, budget,
        None if total is None else [total], [(None, None)] * size + [(0.0, None)],
        method="highs", options={"primal_feasibility_tolerance": 1e-10},
    )  # fmt: skip
    assert found.status == 0, found.message
    return float(found.fun)


def relaxed(names, matrix, limit, family: str, value: float) -> float:
    """The least violation with `family` at `value`."""
    if family == "budget":
        return violation(matrix, limit, total=value)
    sign = np.array([-1.0 if n.startswith("weight_min") or n.endswith("].min") else 1.0 for n in names])
    chosen = np.array([name.startswith(family) for name in names])
    return violation(matrix, np.where(chosen, sign * value, limit))


def check_ray(certificate, names, matrix, limit) -> None:
    y = np.array([certificate["multipliers"].get(name, 0.0) for name in names])
    budget = certificate["multipliers"]["budget"]
    assert y.min() >= 0.0
    assert np.abs(matrix.T @ y + budget).max() <= 1e-8 * max(y.max(), abs(budget))
    assert limit @ y + budget < 0.0
    named = {name for name, multiplier in zip(names, y, strict=True) if multiplier > 0.0}
    assert named | ({"budget"} if budget else set()) == set(certificate["conflicting"])


def check_irreducible(certificate, names, matrix, limit) -> None:
    rows = [names.index(name) for name in certificate["conflicting"] if name != "budget"]
    total = 1.0 if "budget" in certificate["conflicting"] else None
    assert violation(matrix[rows], limit[rows], total=total) > 1e-12
    for row in rows:
        rest = [other for other in rows if other != row]
        assert violation(matrix[rest], limit[rest], total=total) <= EMPTY, names[row]
    if total is not None:
        assert violation(matrix[rows], limit[rows], total=None) <= EMPTY


def check_nearest(entry, names, matrix, limit) -> None:
    family, value = entry["family"], entry["feasible"]
    if value is None:
        assert entry["reason"]
        lowest = 0.0 if family in ("beta", "weight_min") else -3.0
        tried = [relaxed(names, matrix, limit, family, t) for t in np.linspace(lowest, 3.0, 25)]
        assert min(tried) > EMPTY, entry
        return
    tighter = value > 1.0 if family == "budget" else not (family == "weight_min" or family.endswith("].min"))
    assert relaxed(names, matrix, limit, family, value) <= EMPTY, entry
    assert relaxed(names, matrix, limit, family, value - (1e-5 if tighter else -1e-5)) > EMPTY, entry


@pytest.mark.parametrize("batch", range(ROUNDS))
def test_certificates_are_verified_irreducible_and_name_the_nearest_tolerance(batch):
    proven = 0
    for seed in range(batch * BATCH, (batch + 1) * BATCH):
        problem = random_problem(seed)
        names, matrix, limit = written_out(problem)
        certificate = explain_infeasibility(problem)
        assert (certificate is not None) == (violation(matrix, limit) > EMPTY), seed
        if certificate is None:
            continue
        proven += 1
        check_ray(certificate, names, matrix, limit)
        check_irreducible(certificate, names, matrix, limit)
        for entry in certificate["nearest"]:
            check_nearest(entry, names, matrix, limit)
    assert proven > BATCH // 2


def test_caps_that_add_up_to_one_but_for_rounding_are_feasible():
    for size in range(1, 400):
        assert explain_infeasibility(Problem(np.eye(size), upper=np.full(size, 1.0 / size))) is None, size
        assert explain_infeasibility(Problem(np.eye(size), lower=np.full(size, 1.0 / size))) is None, size


def test_two_hundred_atoms_give_a_small_set_in_words():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 8, 200)
    groups = tuple(Group(str(k), labels == k, None, 0.25, "cluster") for k in range(8))
    beta = rng.uniform(0.5, 1.5, 200)
    problem = Problem(np.eye(200), upper=np.full(200, 0.05), groups=groups, beta=beta)
    certificate = explain_infeasibility(problem)
    names, matrix, limit = written_out(problem)
    check_ray(certificate, names, matrix, limit)
    for entry in certificate["nearest"]:
        check_nearest(entry, names, matrix, limit)
    smallest = certificate["nearest"][0]
    assert (smallest["family"], certificate["code"]) == ("beta", "INFEASIBLE_BETA")
    assert "it works from beta = 0." in certificate["message"]
    assert "weight_max of" in certificate["message"] and "beta.upper" in certificate["message"]
