"""The engine's queues: runs, and wishes of commands. Their limits are rows that all workers read."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from quantctl.workflows.names import ADMIN_QUEUE, BATCH_QUEUE, CHILD_QUEUE, QUEUE

if TYPE_CHECKING:
    from dbos._queue import Queue

PATIENCE_SECONDS = 10.0
_here: dict[str, tuple[int, int | None]] = {}
PARENTS = 4  # batches at once in a worker: they wait, their children work
POLL_SECONDS = {QUEUE: 0.1, CHILD_QUEUE: 0.1, BATCH_QUEUE: 0.5, ADMIN_QUEUE: 0.5}  # a look costs 3 ms of CPU


def limit_here(parallel: int, max_runs: int | None, children: int) -> None:
    """Hold this process to its own limits from its first look into a queue on; before the launch.

    The engine keeps limits in the row of a queue, where the last worker to start would set them for all,
    and a worker would look before it has set its own. Whatever it reads of a row here bears these numbers.
    """
    from dbos._sys_db import SystemDatabase

    _here.update({
        QUEUE: (parallel, max_runs), BATCH_QUEUE: (PARENTS, None), CHILD_QUEUE: (children, None)
    })  # fmt: skip
    read = SystemDatabase.get_queue
    if hasattr(read, "limited_here"):
        return

    @functools.wraps(read)
    def get_queue(database: SystemDatabase, name: str, **given: Any) -> Queue | None:
        found = read(database, name, **given)
        if found is not None and name in _here:
            found._worker_concurrency, found._concurrency = _here[name]
        return found

    get_queue.limited_here = True  # type: ignore[attr-defined]
    SystemDatabase.get_queue = get_queue  # type: ignore[assignment, method-assign]


def register(parallel: int, children: int) -> None:
    """Make the queues; right after the launch. Their rows tell the limits of the last worker to start.

    parallel : runs at once in this worker; children : of batches, whose parents only wait
    """
    from dbos import DBOS

    limits = {QUEUE: parallel, BATCH_QUEUE: PARENTS, CHILD_QUEUE: children, ADMIN_QUEUE: 1}
    for queue, limit in limits.items():
        DBOS.register_queue(
            queue, worker_concurrency=limit, polling_interval_sec=POLL_SECONDS[queue],
            on_conflict="always_update",
        )  # fmt: skip


def stop_claiming() -> None:
    """Let the engine claim nothing more for this process; a claim that is under way is done on return.

    The engine itself stops so when it is destroyed, and then waits a second for claims to show.
    """
    from dbos._dbos import _get_dbos_instance

    for event in _get_dbos_instance().background_thread_stop_events:
        event.set()
    for thread in threading.enumerate():
        if thread.name.startswith("queue-worker-"):
            thread.join(PATIENCE_SECONDS)
