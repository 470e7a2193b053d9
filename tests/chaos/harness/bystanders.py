"""Readers beside a run that is being killed: whatever they see must be whole."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import duckdb

from harness.market import Ground

if TYPE_CHECKING:
    from harness.trial import Tally

# Runs whose records have a hole, come twice, or end elsewhere than the head says.
TORN = """SELECT l.run_id FROM ledger l JOIN runs r USING (run_id) GROUP BY l.run_id
    HAVING count(*) <> max(seq) + 1 OR count(DISTINCT seq) <> count(*) OR max(seq) <> max(r.head_seq)"""
PAUSE = 0.1
SELDOM = 1.0  # seconds between commands, which cost more than a look at a file


class Bystanders:
    """A stock DuckDB on `catalog.duckdb`, `quantctl sql`, and `quantctl status --follow`, until left."""

    def __init__(self, ground: Ground, run_id: str, tally: Tally, watched: bool) -> None:
        self._ground, self._run_id, self._tally = ground, run_id, tally
        self._left = threading.Event()
        readers = (self._catalog, self._sql, self._follow) if watched else ()
        self._threads = [threading.Thread(target=self._until_left, args=(each,)) for each in readers]

    def __enter__(self) -> Bystanders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        for thread in self._threads:
            thread.join()

    def _until_left(self, look) -> None:  # type: ignore[no-untyped-def]
        while not self._left.is_set():
            try:
                look()
            except Exception as problem:  # noqa: BLE001  (an error of a reader is what is counted here)
                self._error(f"{look.__name__}: {type(problem).__name__}: {problem}")
            self._left.wait(PAUSE)

    def _error(self, text: str) -> None:
        self._tally.reader_errors.append(text)

    def _catalog(self) -> None:
        path = self._ground.data / "catalog.duckdb"
        if path.exists():
            with duckdb.connect(str(path), read_only=True, config={"threads": 1}) as connection:
                torn = connection.execute(TORN).fetchall()
            self._tally.reads["stock duckdb"] += 1
            if torn:
                self._error(f"catalog.duckdb has torn runs {torn}")

    def _sql(self) -> None:
        done = self._ground.start("sql", TORN, "--json").wait()
        self._tally.reads["quantctl sql"] += 1
        if done.code != 0 or '"data": []' not in done.output:
            self._error(f"quantctl sql: {done.code} {done.output}")
        self._left.wait(SELDOM)

    def _follow(self) -> None:
        life = self._ground.start("status", self._run_id, "--follow")
        while not life.reply.done() and not self._left.is_set():
            self._left.wait(PAUSE)
        if not life.reply.done():
            life.kill()
        done = life.wait()
        self._tally.reads["status --follow"] += 1
        unknown = done.code == 3 and "RUN_NOT_FOUND" in done.output
        if not done.killed and done.code != 0 and not unknown:
            self._error(f"status --follow: {done.code} {done.output}")
        self._left.wait(SELDOM)
