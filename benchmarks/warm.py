"""Cases with a start: the answer of the window before; on the adversarial set that of another market."""

from __future__ import annotations

from dataclasses import replace

from allocation_data import ADVERSARIAL, Case, Side, adversarial, consecutive

from profiles import Solve, weights


def cases(solve: Solve, size: int, side: Side, seed: int) -> Case:
    """The window 21 bars later, with the weights of the one before."""
    before, now = consecutive(size, side, seed)
    return replace(now, previous=weights(solve(before.problem())))


def hard(solve: Solve, size: int, side: Side) -> Case:
    """A start that is feasible and far from the answer."""
    elsewhere = adversarial(size, side, ADVERSARIAL + 1)
    return replace(adversarial(size, side), previous=weights(solve(elsewhere.problem())))
