"""Fencing: a worker that slept past its lease does nothing for a run that another has taken up since.

When the engine hands a run to an execution it writes a token into the run's row; adoption, resume and
cancellation erase it. Every transaction and every write to the run's files looks whether the token still
stands, with the row locked, so that the run can't change hands in between. On SQLite the lock of the
worker says the same for all runs at once, and nothing is asked here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from quantctl.contracts.errors import EnvironmentFault, Interrupted, LeaseLost, StateUnreachable
from quantctl.lake import leases
from quantctl.workflows.faults import environment_apart
from quantctl.workflows.runtime import Runtime

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

log = logging.getLogger("quantctl.fence")


def check(runtime: Runtime, sql: Connection | Session, run_id: str) -> None:
    """Raise `LEASE_LOST` unless this execution has the run until the transaction ends."""
    if not runtime.shared:
        return
    token = _token(run_id)
    if token is None or not leases.owns(sql, run_id, token):
        raise lost(run_id)


def _token(run_id: str) -> str | None:
    """The token of this execution; the row itself may hold that of a later one."""
    from dbos._context import current_owner_xid

    return current_owner_xid(run_id)


def lost(run_id: str) -> LeaseLost:
    """What a fenced worker says; nothing is lost but its own unfinished stage."""
    return LeaseLost(
        "LEASE_LOST", "another worker has taken the run up, for this one gave no sign of life", where=run_id,
        remedy=f"quantctl status {run_id} --follow",
    )  # fmt: skip


@contextmanager
def held(runtime: Runtime, run_id: str) -> Iterator[None]:
    """Inside, the run can't change hands: for writes to its files. Raises `LEASE_LOST`."""
    if not runtime.shared:
        yield
        return
    with environment_apart(run_id), runtime.engine.begin() as sql:
        check(runtime, sql, run_id)
        yield


@contextmanager
def alone(runtime: Runtime, run_id: str) -> Iterator[Callable[[], None]]:
    """Inside, no other worker changes a run as a command asked (cancel, resume, retry); it waits instead.

    The server ends that for a worker which sleeps too long. What is yielded raises `LEASE_LOST` then: to be
    called before an effect that must not follow what another worker has done since.
    """
    if not runtime.shared:
        yield lambda: None
        return
    with environment_apart(run_id), runtime.engine.begin() as sql:
        leases.alone(sql, run_id)
        yield partial(_still, sql, run_id)


def _still(sql: Connection, run_id: str) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    try:
        sql.execute(text("SELECT 1"))
    except (DBAPIError, StateUnreachable) as problem:
        raise lost(run_id) from problem


def last_words(runtime: Runtime, run_id: str, say: Callable[[], None]) -> None:
    """Let a life that a fault ends note that; unsaid where the state database is away. `LEASE_LOST`."""
    try:
        with held(runtime, run_id):
            say()
    except StateUnreachable:
        log.warning("the end of a life of %s could not be noted", run_id)


@contextmanager
def dropping(runtime: Runtime, run_id: str) -> Iterator[None]:
    """Turn what the engine says of a lost run into `LEASE_LOST`; it would wait for the other worker's end.

    A fault of the environment under which the run was lost as well is told as the loss.
    """
    from dbos import error as engine_errors

    try:
        yield
    except engine_errors.DBOSWorkflowConflictIDError:
        if not runtime.shared:
            raise
        raise lost(run_id) from None
    except LeaseLost:
        raise
    except EnvironmentFault as fault:
        if runtime.shared:
            _put_down(runtime, run_id, fault)
        raise


def _put_down(runtime: Runtime, run_id: str, fault: EnvironmentFault) -> None:
    """Leave a run to `resume`: a full disk would be met again at once.

    An interrupted one is adopted when the worker has left, and one whose database was away is queued anew
    by its worker.
    """
    token = _token(run_id)
    if token is None or isinstance(fault, StateUnreachable):
        return
    with environment_apart(run_id), runtime.engine.begin() as sql:
        if not leases.owns(sql, run_id, token):
            raise lost(run_id) from fault
        if not isinstance(fault, Interrupted):
            leases.put_down(sql, run_id, token)
