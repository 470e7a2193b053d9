"""The front door over one Postgres, and workers that share it."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import wish_door


class Door(wish_door.Door):
    """Commands over one Postgres; `hired` are the workers that the test ends."""

    def __init__(self, data: Path, url: str, lease: float = 2) -> None:
        super().__init__(data, {"TV_STATE_URL": url})
        self.lease = lease
        self.hired: list[subprocess.Popen[str]] = []

    def _command(self, words: tuple[str, ...]) -> list[str]:
        command = super()._command(words)
        return [*command[:2], "--set", f"orchestration.lease_seconds={self.lease}", *command[2:]]

    def hire(self, lease: float | None = None, **env: str) -> subprocess.Popen[str]:
        """A worker that serves, and has adopted what it adopts at its start only."""
        marker = self._mark(env.get("SPEAK", "alpha.v1"))
        kept, self.lease = self.lease, lease or self.lease
        process = self.start("worker", **env)
        self.hired.append(process)
        self.lease = kept
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "serves" in line, line + str(process.communicate(timeout=10))
        wish_door.wait_for(lambda: self.engine(marker) == "ENQUEUED")
        return process

    def _mark(self, version: str) -> str:
        """Leave a workflow that waits for the next worker to start; nobody looks into its queue."""
        marker = f"marker-{len(self.hired)}"
        execute(
            self, "INSERT INTO dbos.workflow_status (workflow_uuid, status, name, executor_id,"
            " application_version, queue_name, created_at, updated_at)"
            " VALUES (%s, 'PENDING', 'marker', 'put-down:gone', %s, 'nowhere', 0, 0)", marker, version,
        )  # fmt: skip
        return marker

    def dismiss(self) -> None:
        """Kill whoever is left."""
        for process in self.hired:
            process.kill()
            process.communicate()

    def rows(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        """Rows of the state database."""
        from quantctl.lake import state

        with state.reader(self.state_url) as connection:
            return [tuple(row) for row in connection.execute(query, given).fetchall()]

    def sound(self) -> None:
        """Assert that each record of `k1` is there once, in one chain, and that every copy of it holds."""
        from quantctl.verification import verify_ledger
        from quantctl.workflows.runtime import Places

        records = self.records()
        wish_door.each_record_once(records)
        assert all(later["prev_hash"] == record["hash"] for record, later in pairwise(records))
        assert [record["type"] for record in records].count("closed") == 1 + self.reopened()
        data = self.data
        places = Places(data, data / "lakehouse", data / "artifacts", data / "export", self.state_url)
        report = verify_ledger(places, "k1")
        assert report["ok"], report["findings"]

    def reopened(self) -> int:
        """How often `k1` was begun again."""
        return [record["code"] for record in self.records()].count("REOPENED")


def bury(door: Door, worker: str = "run-k1") -> None:
    """Let the lease of a worker that was killed end now."""
    execute(door, "UPDATE workers SET expires = 0 WHERE worker = %s", worker)


def execute(door: Door, statement: str, *given: str) -> None:
    """One statement on the state database."""
    import psycopg

    with psycopg.connect(door.state_url) as connection:
        connection.execute(statement.encode(), given)


def queue(door: Door, name: str) -> None:
    """Let `k1` wait in a queue, if it waits; nobody looks into `nowhere`."""
    execute(
        door, "UPDATE dbos.workflow_status SET queue_name = %s WHERE workflow_uuid = 'k1'"
        " AND status = 'ENQUEUED'", name,
    )  # fmt: skip


class Scene:
    """A run before a wish, in a database and a data directory that every trial gets a copy of."""

    def __init__(self, door: Door, server: Any) -> None:
        self.door, self._server = door, server

    def trial(self, root: Path) -> Door:
        name = self.door.state_url.rsplit("/", 1)[1]
        data = root / "data"
        shutil.copytree(self.door.data, data, symlinks=True)
        return Door(data, self._server._create(name))
