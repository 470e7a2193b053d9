"""How the convex profiles are solved: the rungs of the solver ladder that may run.

A kernel tries the rungs of its engine in order. Whatever a rung claims, `check_kkt` judges; the first
accepted result ends the climb, every attempt stays in the trace. A rung may fail, never mislead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quantctl.steps.l4_allocation.kernels.formulations import Formulations

Rung = Literal["closed_form", "fast", "ipm", "polish", "clarabel"]
RUNGS: tuple[Rung, ...] = ("closed_form", "fast", "ipm", "polish", "clarabel")


@dataclass(frozen=True)
class Engine:
    """Rungs that may run, in the order of the ladder, and who stands on the last one.

    rungs : `closed_form`; `fast`, the profile's own kernel; `ipm`, dense interior point; `polish`, the
        fast kernel started from the sets of the interior point; `clarabel`
    reference : canonicalised cvxpy formulations that serve the rung `clarabel`; null: Clarabel directly
    """

    rungs: tuple[Rung, ...] = RUNGS
    reference: Formulations | None = None

    def has(self, rung: Rung) -> bool:
        """Whether `rung` may run."""
        return rung in self.rungs


NATIVE = Engine()


def reference_engine() -> Engine:
    """`allocation.engine: cvxpy`: closed forms, then the readable formulations.

    Keep the object between solves of one shape: it holds what the modelling library compiled.
    """
    return Engine(("closed_form", "clarabel"), Formulations())
