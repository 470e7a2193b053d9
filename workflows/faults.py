"""Faults of the environment, told apart from outcomes of a stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quantctl.contracts.errors import DiskFault, MemoryFault, StateUnreachable
from quantctl.lake import state
from quantctl.lake.files import fault_of


@contextmanager
def environment_apart(run_id: str | None = None) -> Iterator[None]:
    """Turn the operating system's exceptions into faults that leave the run resumable.

    An `OSError` that reached the workflow engine would be checkpointed and fail the run for good. Faults of
    the state database are told by `state.faults`, inside which this is; what else it says of a statement is
    one too, for our statements are right.

    run_id : the run that stays open; null where nothing was begun
    """
    import sqlalchemy as sa

    then = f"quantctl resume {run_id}" if run_id else "repeat the command"
    remedy = f"free the resource, then: {then}"
    try:
        yield
    except MemoryError:
        raise MemoryFault("OUT_OF_MEMORY", "out of memory", remedy=remedy) from None
    except DiskFault as fault:
        raise DiskFault(fault.code, fault.message, where=fault.where, remedy=remedy) from fault
    except StateUnreachable as fault:
        raise StateUnreachable(
            fault.code, fault.message, where=fault.where, remedy=remedy if run_id else fault.remedy
        ) from fault
    except OSError as problem:
        known = fault_of(problem, Path(str(problem.filename or "")))
        if known is None:
            raise
        raise DiskFault(known.code, known.message, where=known.where, remedy=remedy) from problem
    except sa.exc.DBAPIError as problem:
        if state.is_conflict(problem):  # the datasource runs such a transaction again
            raise
        raise StateUnreachable("STATE_UNREACHABLE", str(problem.orig), remedy=remedy) from problem
