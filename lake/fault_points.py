"""Named points around every effect, where a test may kill the process or let the disk fail.

Inert unless a test arms them in its own process: no setting and no variable of the environment does.
"""

from __future__ import annotations

from collections.abc import Callable

POINTS: dict[str, str] = {
    "write.begin": "a file is about to be written under its temporary name",
    "write.written": "the temporary file holds its bytes, which are not synced",
    "write.synced": "the bytes of the temporary file are durable, its name is not",
    "write.renamed": "the file has its own name, which is not durable",
    "directory.made": "a directory is made, its name is not durable",
    "directory.synced": "the names inside a directory are durable",
    "append.begin": "lines are about to be appended to audit.jsonl",
    "append.cut": "a torn tail was cut off audit.jsonl",
    "append.written": "the lines are in audit.jsonl, not synced",
    "append.synced": "the lines of audit.jsonl are durable, its head file is the old one",
    "attempt.moving": "a superseded output is about to be moved to attempts/",
    "attempt.moved": "a superseded output lies in attempts/, its name is not durable",
    "transaction.begin": "a ledger transaction (genesis, open, book, close) has begun and holds no row",
    "transaction.filled": "the rows of a ledger transaction are inserted, not committed",
    "transaction.committed": "the rows and the done-marker are committed, the engine's checkpoint is not",
    "transaction.checkpointed": "the engine has the checkpoint of a ledger transaction, or replays it",
    "compute.begin": "the compute operation of a stage begins",
    "compute.ended": "artifacts and verdicts are durable, the outcome is not checkpointed",
    "compute.checkpointed": "the outcome of a stage is checkpointed",
    "life.begun": "a life of a run is recorded",
    "life.ended": "the end of a life is recorded, projections are behind",
    "projection.begin": "the SQL surface of a run is about to be projected",
    "projection.parts": "the parts of the SQL surface count, the catalogue is the old one",
    "catalog.built": "the new catalogue lies beside the old one",
    "catalog.swapped": "the new catalogue has its name, which is not durable",
    "latest.linked": "the link to the run lies beside summaries/latest",
    "latest.pointed": "summaries/latest names the run, its name is not durable",
    "lake.linking": "a lake commit is whole but for its entry in the log",
    "lake.linked": "the entry of a lake commit is in the log, its transaction link is not",
    "lake.named": "the transaction link of a lake commit is made",
    "wish.taken": "a wish of another process is about to be fulfilled",
    "wish.fulfilled": "what was wished is done, the answer is not checkpointed",
    "cancel.asked": "the wish to cancel is recorded, nothing has followed yet",
    "cancel.given_up": "the engine gave a run up, its ledger is open",
    "cancel.closed": "the ledger of a cancelled run is closed, projections are behind",
    "cancel.left": "a run closed itself as cancelled, the engine's row is the old one",
    "retry.aside": "the outputs to be replaced lie in attempts/, the run is not rewound",
    "retry.rewound": "a failed run is in the queue again",
    "child.begun": "a child of a batch is in its queue",
    "adopt.booked": "a run is adopted from another protocol, nobody has taken it up",
    "installation.named": "a data directory has its id, no state database belongs to it yet",
    "engine.launching": "the tables are there and the worker is signed in, the engine starts",
    "engine.launched": "the engine has started, and recovers what bears the worker's name",
    "run.enqueued": "a run is in the queue, nobody has taken it up",
    "schedule.noticed": "times that passed are rows, no run of them is queued",
    "schedule.enqueued": "the run of a scheduled time is queued, the time is still due",
    "notice.taken": "a try to tell of the end of a run is counted, nothing is sent",
    "notice.sent": "the end of a run is told, its row still says that it is not",
    "engine.destroyed": "the engine has ended, the worker is still signed in",
    "fork.linking": "a kept file is about to be linked into a fork",
    "fork.linked": "a kept file has its name in the fork, the others have not",
    "lock.taken": "the worker lock is held, its file names the holder before",
    "lock.named": "the worker lock is held and named",
    "lock.leaving": "the worker lock is about to be released",
}  # fmt: skip

_armed: Callable[[str], None] | None = None


def reach(name: str) -> None:
    """Say that a point of `POINTS` is reached; costs one comparison unless a test armed the points."""
    if _armed is not None:
        if name not in POINTS:
            raise KeyError(f"no fault point {name!r}")
        _armed(name)


def arm(callback: Callable[[str], None]) -> None:
    """Call `callback` at every point reached in this process from now on."""
    global _armed
    _armed = callback


def disarm() -> None:
    """Make the points inert again."""
    global _armed
    _armed = None
