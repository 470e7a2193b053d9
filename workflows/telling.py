"""Telling of the end of a run by command or webhook: after the close, tried again, never part of the run."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from quantctl.contracts.ids import trace_id_of
from quantctl.lake import notices
from quantctl.lake.fault_points import reach
from quantctl.lake.notices import Notice
from quantctl.workflows import telemetry
from quantctl.workflows.logs import run_log
from quantctl.workflows.runtime import Places, Runtime

if TYPE_CHECKING:
    from sqlalchemy import Engine

log = logging.getLogger("quantctl.notify")
SCHEMA = "quantctl.notice/1"
LOOK_SECONDS = 0.5
MARGIN_SECONDS = 5.0  # beyond its time limit, before a try of which nothing is heard counts as lost


class NotToldError(Exception):
    """A try failed; the text has no secret in it."""


def tell(notice: Notice) -> None:
    """Make one try. Raises `NotToldError`."""
    if notice.channel == "command":
        _by_command(notice)
    else:
        _by_webhook(notice)


def _by_command(notice: Notice) -> None:
    words, seconds = notice.means["command"], notice.means["timeout_seconds"]
    variables = {f"QUANTCTL_{key.upper()}": "" if v is None else str(v) for key, v in notice.facts.items()}
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            words, env=os.environ | variables, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )
    except OSError as problem:
        raise NotToldError(f"{words[0]} can't be started: {problem.strerror}") from None
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise NotToldError(f"{words[0]} took longer than {seconds:g} s") from None
    if code != 0:
        raise NotToldError(f"{words[0]} exited with {code}")


def _by_webhook(notice: Notice) -> None:
    import httpx

    name, token_name = notice.means["webhook_url_env"], notice.means["webhook_token_env"]
    url, token = os.environ.get(name), os.environ.get(token_name or "")
    for variable, value in ((name, url), (token_name, token)):
        if variable and not value:
            raise NotToldError(f"variable {variable} is not set in this process")
    for chatty in ("httpx", "httpcore"):  # they log the URL
        logging.getLogger(chatty).setLevel(logging.WARNING)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # What an error of the library says may hold the URL, which is a secret: only its kind is told.
    try:
        with httpx.stream(
            "POST", str(url), json=dict(notice.facts) | {"schema": SCHEMA}, headers=headers,
            follow_redirects=False, timeout=notice.means["timeout_seconds"],
        ) as answer:  # fmt: skip
            status = answer.status_code
        telemetry.record_http(str(url), status)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as problem:
        telemetry.record_http(str(url), type(problem).__name__)
        raise NotToldError(f"the URL in {name}: {type(problem).__name__}") from None
    if not 200 <= status < 300:
        raise NotToldError(f"the URL in {name} answered {status}")


def attempt(places: Places, engine: Engine, notice: Notice, now: Callable[[], datetime]) -> bool:
    """Count a try, make it, note what came of it; whether it was told. Lines go to the log of the run."""
    lost = timedelta(seconds=float(notice.means["timeout_seconds"]) + MARGIN_SECONDS)
    with engine.begin() as sql:
        if not notices.claim(sql, notice, now() + lost):
            return False
    reach("notice.taken")
    tries = notice.tries + 1
    root = places.run_root(notice.run_id)
    with run_log(root, notice.run_id, trace_id_of(notice.run_id)):
        try:
            tell(notice)
        except NotToldError as problem:
            again = now() + notices.backoff(tries) if tries < notice.means["tries"] else None
            log.warning("%s not told, try %d: %s", notice.channel, tries, problem)
            with engine.begin() as sql:
                notices.failed(sql, notice, str(problem), again)
            return False
        reach("notice.sent")
        with engine.begin() as sql:
            notices.sent(sql, notice, now())
        log.info("%s told of the end, try %d", notice.channel, tries)
    return True


class Courier:
    """A thread of a worker that tells what is due, beside the runs that execute."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._go, name="courier", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, *, last_round: bool) -> None:
        """End, after a first try for what no one has tried yet if there is a `last_round`."""
        self._leaving.set()
        self._thread.join()
        if last_round:
            self._round(fresh=True)

    def _go(self) -> None:
        while not self._leaving.wait(LOOK_SECONDS):
            self._round(fresh=False)

    def _round(self, *, fresh: bool) -> None:
        """One look at the outbox; a database that is away is the worker's to report."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._runtime.engine.connect() as sql:
                found = notices.due(sql, _now())
            for notice in found:
                # A run that this process still closes has its last files written first.
                if notice.run_id not in self._runtime.active and not (fresh and notice.tries):
                    attempt(self._runtime.places, self._runtime.engine, notice, _now)
        except SQLAlchemyError as problem:
            log.debug("the outbox can't be read: %s", type(problem).__name__)


def _now() -> datetime:
    return datetime.now(UTC)
