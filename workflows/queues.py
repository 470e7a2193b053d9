"""The engine's queues: runs, and wishes of commands. Their limits are rows that all workers read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quantctl.workflows.names import ADMIN_QUEUE, BATCH_QUEUE, CHILD_QUEUE, QUEUE

if TYPE_CHECKING:
    from dbos._queue import Queue

PARENTS = 4  # batches at once in a worker: they wait, their children work


def register(
    parallel: int, max_runs: int | None, children: int, poll_seconds: float, *, shared: bool
) -> None:
    """Make the queues, or bring their limits up to date; right after the launch.

    parallel : runs at once in this worker; max_runs : over all workers, if they share the database
    children : children of batches at once in this worker; their parents only wait
    """
    from dbos import DBOS

    if shared:
        _limit_here({QUEUE: parallel, BATCH_QUEUE: PARENTS, CHILD_QUEUE: children})
    DBOS.register_queue(
        QUEUE,
        worker_concurrency=1 if shared else parallel,
        global_concurrency=max_runs if shared else None,  # on SQLite that would admit too many
        polling_interval_sec=poll_seconds,
        on_conflict="always_update",
    )
    for queue, limit in ((BATCH_QUEUE, PARENTS), (CHILD_QUEUE, children)):
        DBOS.register_queue(
            queue, worker_concurrency=1 if shared else limit, polling_interval_sec=poll_seconds,
            on_conflict="always_update",
        )  # fmt: skip
    DBOS.register_queue(
        ADMIN_QUEUE, worker_concurrency=1, polling_interval_sec=poll_seconds, on_conflict="always_update"
    )


def _limit_here(limits: Mapping[str, int]) -> None:
    """Let this worker take as many at once of each queue as `limits` says, whatever others take.

    The engine keeps a worker's limit in the row of the queue, where the last worker to start would set it
    for all. It reads the row before each look; what it reads here bears this worker's own number.
    """
    from dbos._dbos import _get_dbos_instance

    database = _get_dbos_instance()._sys_db
    read = database.get_queue

    def get_queue(name: str, **given: Any) -> Queue | None:
        found = read(name, **given)
        if found is not None and name in limits:
            found._worker_concurrency = limits[name]
        return found

    database.get_queue = get_queue  # type: ignore[method-assign]
