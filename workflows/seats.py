"""The seat of a worker: on SQLite there is one, the lock; on Postgres each worker has its own, a lease."""

from __future__ import annotations

import logging
import secrets
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from quantctl.lake import leases, state
from quantctl.lake.ledger import timestamp
from quantctl.lake.lock import WorkerLock
from quantctl.workflows.runtime import Places

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Engine

log = logging.getLogger("quantctl.worker")
BEATS = 3  # signs of life per lease
LEAST_IDLE_SECONDS = 10.0  # for a write to disk that holds a run meanwhile


class Seat(Protocol):
    """What makes a process a worker."""

    shared: bool

    def take(self) -> bool:
        """Become a worker; false when that place is taken."""

    def lost(self) -> bool:
        """Whether another process sits here now."""

    def sign_in(self, engine: Engine) -> None:
        """Note the beginning, once the tables are there."""

    def sign_out(self, engine: Engine) -> None:
        """Note the end; a full disk must not hide the fault that ended a run, and the seat tells anyway."""

    def leave(self) -> None:
        """Stop being a worker."""


def seat_of(places: Places, name: str, lease_seconds: float, *, yields: bool = True) -> Seat:
    """The seat for a worker of that name.

    yields : on Postgres, leave it to a long-lived worker when one is alive
    """
    if state.is_postgres(places.state_url):
        return LeaseSeat(places, name, lease_seconds, yields=yields)
    return FlockSeat(places, name)


def long_lived_name(places: Places) -> str:
    """Name of a long-lived worker: there is one on SQLite, and on Postgres no two are the same."""
    return leases.LONG_LIVED + (secrets.token_hex(6) if state.is_postgres(places.state_url) else "1")


class FlockSeat:
    """The worker lock; the operating system frees it when the process dies."""

    shared = False

    def __init__(self, places: Places, name: str) -> None:
        self._name = name
        self._lock = WorkerLock(places.lock)

    def take(self) -> bool:
        """Take the lock."""
        return self._lock.acquire(self._name)

    def lost(self) -> bool:
        """Never: a lock is not taken away."""
        return False

    def sign_in(self, engine: Engine) -> None:
        """A row of `workers`."""
        self._note(engine, "INSERT INTO workers (worker, started) VALUES (:w, :t) ON CONFLICT (worker)"
                           " DO UPDATE SET started = excluded.started, ended = NULL")  # fmt: skip

    def sign_out(self, engine: Engine) -> None:
        """Its end."""
        from sqlalchemy.exc import DBAPIError

        try:
            self._note(engine, "UPDATE workers SET ended = :t WHERE worker = :w")
        except DBAPIError as problem:
            log.warning("worker %s could not sign out: %s", self._name, problem.orig)

    def leave(self) -> None:
        """Release the lock."""
        self._lock.release()

    def _note(self, engine: Engine, statement: str) -> None:
        from sqlalchemy import text

        with engine.begin() as sql:
            sql.execute(text(statement), {"w": self._name, "t": timestamp(datetime.now(UTC))})


class LeaseSeat:
    """A row of `workers` in Postgres, renewed by a thread of its own over a connection of its own.

    seconds : the lease; when it is not renewed that long, others adopt what this worker has begun
    """

    shared = True

    def __init__(self, places: Places, name: str, seconds: float, *, yields: bool) -> None:
        self._places, self._name, self._seconds, self._yields = places, name, seconds, yields
        self._engine: Engine | None = None
        self._epoch: int | None = None
        self._gone = threading.Event()
        self._lost = False
        self._beating: threading.Thread | None = None

    def take(self) -> bool:
        """Sign in, unless a process of this name lives, or a long-lived worker to whom this one yields."""
        if self._yields and leases.long_lived(leases.live_workers(self._places.state_url, self._places.lock)):
            return False
        self._engine = self._places.open_state()
        with self._engine.begin() as sql:
            self._epoch = leases.sign_in(sql, self._name, self._seconds)
        if self._epoch is None:
            self._engine.dispose()
            return False
        self._beating = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._beating.start()
        return True

    def lost(self) -> bool:
        """Whether another process has taken the name while this one slept."""
        return self._lost

    def sign_in(self, engine: Engine) -> None:
        """Done when the seat was taken. The server ends a transaction whose worker sleeps past its lease."""
        import sqlalchemy as sa

        patience = max(2 * self._seconds, LEAST_IDLE_SECONDS)

        @sa.event.listens_for(engine, "connect")
        def limit(connection: psycopg.Connection, _record: object) -> None:
            connection.execute(f"SET idle_in_transaction_session_timeout = {int(patience * 1000)}".encode())
            connection.commit()

        engine.dispose()  # connections made before have no limit

    def sign_out(self, engine: Engine) -> None:
        """Done when the seat is left."""

    def leave(self) -> None:
        """Sign out: what is left pending may be adopted at once."""
        from sqlalchemy.exc import DBAPIError

        self._gone.set()
        if self._engine is None or self._epoch is None or self._beating is None:
            return
        self._beating.join()
        try:
            with self._engine.begin() as sql:
                leases.sign_out(sql, self._name, self._epoch)
        except DBAPIError as problem:
            log.warning("worker %s could not sign out: %s", self._name, problem.orig)
        self._engine.dispose()
        self._epoch = None

    def _beat(self) -> None:
        from sqlalchemy.exc import DBAPIError

        assert self._engine is not None and self._epoch is not None
        while not self._gone.wait(self._seconds / BEATS):
            try:
                with self._engine.begin() as sql:
                    if not leases.renew(sql, self._name, self._epoch, self._seconds):
                        self._lost = True
                        return
            except DBAPIError as problem:
                log.warning("worker %s could not give a sign of life: %s", self._name, problem.orig)
