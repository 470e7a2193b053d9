"""Seats, signs of life and adoption, as statements on a Postgres."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from quantctl.lake import leases, state

_PENDING = """INSERT INTO workflow_status (workflow_uuid, status, name, executor_id, application_version,
    application_name, queue_name, owner_xid, created_at, updated_at, priority)
    VALUES (:run, 'PENDING', 'alpha.v1', :worker, 'v', 'quantctl', 'quantctl', 'token', :at, 0, 0)"""


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Any]:
    found = state.open_engine(postgres_url)
    yield found
    found.dispose()


def sign_in(engine: Any, worker: str, seconds: float = 60) -> int | None:
    with engine.begin() as sql:
        return leases.sign_in(sql, worker, seconds)


def pending(engine: Any, run_id: str, worker: str, at: int = 0) -> None:
    with engine.begin() as sql:
        sql.execute(sa.text(_PENDING), {"run": run_id, "worker": worker, "at": at})


def adopt(engine: Any, worker: str = "worker-b", **given: Any) -> list[str]:
    with engine.begin() as sql:
        return leases.adopt(sql, worker, "v", **given)


def test_a_seat_has_one_holder_until_its_lease_ends(engine: Any, postgres_url: str, tmp_path: Path) -> None:
    assert sign_in(engine, "run-a", 0.2) == 1
    assert sign_in(engine, "run-a") is None
    assert leases.live_workers(postgres_url, tmp_path) == {"run-a"}
    threading.Event().wait(0.3)
    assert leases.live_workers(postgres_url, tmp_path) == frozenset()
    assert sign_in(engine, "run-a") == 2
    with engine.begin() as sql:
        assert not leases.renew(sql, "run-a", 1, 60)  # whoever slept has lost it
        assert leases.renew(sql, "run-a", 2, 60)


def test_who_signs_out_is_dead_at_once_and_who_lost_the_seat_signs_nobody_out(
    engine: Any, postgres_url: str, tmp_path: Path
) -> None:
    assert sign_in(engine, "worker-a") == 1
    with engine.begin() as sql:
        leases.sign_out(sql, "worker-a", 7)
    assert leases.live_workers(postgres_url, tmp_path) == {"worker-a"}
    with engine.begin() as sql:
        leases.sign_out(sql, "worker-a", 1)
    assert leases.live_workers(postgres_url, tmp_path) == frozenset()


def test_only_runs_of_dead_workers_are_adopted_and_their_token_is_gone(engine: Any) -> None:
    sign_in(engine, "worker-live")
    pending(engine, "dead", "worker-dead")
    pending(engine, "living", "worker-live")
    pending(engine, "mine", "worker-b")
    with engine.begin() as sql:
        assert leases.owns(sql, "dead", "token")
    assert adopt(engine) == ["dead"]
    assert adopt(engine) == []
    with engine.begin() as sql:
        assert not leases.owns(sql, "dead", "token")
        assert leases.owns(sql, "living", "token")


def test_of_workers_that_adopt_together_one_wins(engine: Any) -> None:
    for number in range(20):
        pending(engine, f"r{number:02}", "worker-dead", number)
    won: list[str] = []
    together = threading.Barrier(4)

    def run(worker: str) -> None:
        together.wait()
        won.extend(adopt(engine, worker))

    threads = [threading.Thread(target=run, args=(f"worker-{name}",)) for name in "bcde"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [f"r{number:02}" for number in range(20)]


def test_a_run_that_its_worker_writes_to_is_not_adopted_meanwhile(engine: Any) -> None:
    pending(engine, "a", "worker-dead")
    with engine.begin() as sleeper:
        assert leases.owns(sleeper, "a", "token")
        assert adopt(engine) == []
    assert adopt(engine) == ["a"]


def test_a_run_that_was_put_down_waits_to_be_asked_for(engine: Any) -> None:
    pending(engine, "a", "worker-dead")
    with engine.begin() as sql:
        leases.put_down(sql, "a", "another token")
    with engine.begin() as sql:
        leases.put_down(sql, "a", "token")
    assert adopt(engine) == []
    assert adopt(engine, only="b", put_down=True) == []
    assert adopt(engine, only="a", put_down=True) == ["a"]


def test_the_tables_are_found_while_a_worker_writes_to_them(engine: Any, postgres_url: str) -> None:
    """Making an index that is there would wait for every writer, and two such waits are a deadlock."""
    with engine.begin() as sql:
        sql.execute(sa.text("LOCK TABLE runs, run_ledger, workers IN ROW EXCLUSIVE MODE"))
        other = state.open_engine(postgres_url + "?options=-c%20lock_timeout%3D5000")
        other.dispose()
