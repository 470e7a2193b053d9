"""A wish as the asking command sees it: an id, a place in the queue, an answer."""

from __future__ import annotations

import json
import time
import uuid

from quantctl.contracts.errors import ConfigError, InternalError
from quantctl.contracts.records.wish import Answer, Wish
from quantctl.lake import leases, state
from quantctl.workflows.runtime import Places
from quantctl.workflows.submitting import submit_wish, withdraw

PATIENCE_SECONDS = 10.0


class Asking:
    """One wish, handed to the process that executes runs once there is need to.

    lease_seconds : how long a dead worker passes for a living one on Postgres
    """

    def __init__(self, places: Places, wish: Wish, lease_seconds: float) -> None:
        self.wish = wish
        self._patience = PATIENCE_SECONDS + (lease_seconds if state.is_postgres(places.state_url) else 0.0)
        self._places = places
        self._id: str | None = None
        self._asked = 0.0
        self._done = False

    @property
    def owed(self) -> bool:
        """Whether the wish is still to be fulfilled; a run that has ended needs no resume."""
        return not self._done and self.wish.verb != "resume"

    def answered(self) -> bool:
        """Whether the wish is fulfilled; asks for it first. Raises the typed error that refused it.

        A holder of the lock that does not take the wish in time is of another version, or hangs:
        `WORKER_BUSY` (exit 2). A resume waits for it to leave instead, unless others may work beside it.
        """
        if self._done:
            return True
        if self._id is None:
            # Colons are in no run id.
            self._id = f"admin:{self.wish.verb}:{self.wish.run_id}:{uuid.uuid4().hex[:12]}"
            self._asked = time.monotonic()
            submit_wish(self._places, self._id, self.wish)
        status, executor, answer = self._look(self._id)
        if answer is not None:
            self._done = True
            answer.check()
        elif status == "PENDING":
            self._asked = time.monotonic()  # taken; if by one that dies, the next one has its time as well
            if self._nobody_adopts(executor):
                self.withdraw()  # and asked anew, of whoever lives
        elif status == "ENQUEUED" and time.monotonic() - self._asked > self._patience:
            self._refuse(self._id)
        return self._done

    def deserted(self) -> bool:
        """Whether nobody is there to fulfil the wish any more; it is taken back then."""
        if self._places.live_workers():
            return False
        self.withdraw()
        return True

    def withdraw(self) -> None:
        """Take the wish back, for the asking command does it itself."""
        if self._id is not None and not self._done:
            withdraw(self._places, self._id)
            self._id = None

    def _nobody_adopts(self, executor: str) -> bool:
        """Whether a dead worker began the wish and only commands live, which adopt no run but their own."""
        live = self._places.live_workers()
        return bool(live) and executor not in live and not leases.long_lived(live)

    def _refuse(self, wish_id: str) -> None:
        withdraw(self._places, wish_id)
        if self._look(wish_id)[2] is not None:
            return  # it was fulfilled at the last moment
        if self.wish.verb == "resume" and not (
            self.wish.adopt_version and state.is_postgres(self._places.state_url)
        ):
            self._done = True
            return
        raise ConfigError(
            "WORKER_BUSY",
            f"{', '.join(sorted(self._places.live_workers()))} does not take up what it is asked",
            remedy="stop that process (it may be of another version), then repeat the command",
        )

    def _look(self, wish_id: str) -> tuple[str, str, Answer | None]:
        """State of the wish in the engine, who took it, and the answer."""
        with state.reader(self._places.state_url) as connection:
            row = connection.execute(
                "SELECT w.status, w.executor_id, o.output FROM workflow_status w LEFT JOIN workflow_output o"
                " ON o.workflow_uuid = w.workflow_uuid WHERE w.workflow_uuid = ?",
                (wish_id,),
            ).fetchone() if connection else None  # fmt: skip
        if row is None:
            return "", "", None
        if row["status"] not in ("SUCCESS", "ERROR"):
            return row["status"], str(row["executor_id"]), None
        if row["output"] is None:
            raise InternalError(
                "INTERNAL", "the worker broke on what it was asked",
                remedy="please report this; its log has the traceback",
            )  # fmt: skip
        answer = Answer.model_validate(json.loads(row["output"]))
        return row["status"], str(row["executor_id"]), answer
