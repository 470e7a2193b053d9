"""Notices of ended runs: told at least once, by command or webhook, and never part of the run."""

from __future__ import annotations

import json
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from quantctl.contracts.settings.notify import NotifySettings
from quantctl.lake import fault_points, notices, state
from quantctl.lake.notices import Notice
from quantctl.workflows.runtime import Places, Runtime
from quantctl.workflows.telling import Courier, NotToldError, attempt, tell

FACTS = {
    "run_id": "r1", "profile": "p", "pipeline": "alpha.full", "attempt": 1, "state": "FAILED",
    "code": "GATE", "exit_code": 1, "head_hash": "ab" * 32,
}  # fmt: skip
SECRET = "s3cr3t-token"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Receiver(socketserver.ThreadingTCPServer):
    """A local webhook; `faults` are taken one per request: a status, `reset` or `hang`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        outer = self
        self.got: list[tuple[dict[str, Any], str | None]] = []
        self.faults: list[int | str] = []
        self.release = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fault = outer.faults.pop(0) if outer.faults else 200
                if fault == "reset":
                    linger = (1).to_bytes(4, sys.byteorder) + (0).to_bytes(4, sys.byteorder)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.connection.close()
                    return
                if fault == "hang":
                    outer.release.wait()
                    return
                if fault == 200:
                    outer.got.append((body, self.headers.get("Authorization")))
                self.send_response(int(fault))
                if fault == 302:
                    self.send_header("Location", outer.url)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook/{SECRET}"

    def handle_error(self, *_: object) -> None:
        """A reset connection is meant."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    found = Receiver()
    monkeypatch.setenv("HOOK", found.url)
    monkeypatch.setenv("HOOK_TOKEN", SECRET)
    yield found
    found.release.set()
    found.shutdown()
    found.server_close()


class Outbox:
    """A state database with notices."""

    def __init__(self, root: Path) -> None:
        self.places = Places(root, root, root, root, state.default_url(root))
        self.engine = state.open_engine(self.places.state_url)
        self.now = START

    def post(self, run_id: str = "r1", **settings: Any) -> None:
        given = NotifySettings(**settings).model_dump(mode="json")
        with self.engine.begin() as sql:
            notices.post(sql, given, FACTS | {"run_id": run_id}, 9, notices.stamp(START))

    def all(self) -> list[Notice]:
        return notices.known(self.places.state_url)

    def the_one(self) -> Notice:
        (notice,) = self.all()
        return notice

    def round(self) -> None:
        """What a courier does in one look."""
        with self.engine.connect() as sql:
            found = notices.due(sql, self.now)
        for notice in found:
            attempt(self.places, self.engine, notice, lambda: self.now)

    def log(self) -> str:
        return (self.places.run_root("r1") / "logs" / "run.jsonl").read_text()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    found = Outbox(tmp_path)
    yield found
    fault_points.disarm()
    found.engine.dispose()


def command(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code)


def test_a_webhook_gets_the_facts_and_the_token_and_nothing_secret_is_kept(
    outbox: Outbox, receiver: Receiver
) -> None:
    outbox.post(webhook_url_env="HOOK", webhook_token_env="HOOK_TOKEN")
    outbox.round()
    assert receiver.got == [(FACTS | {"schema": "quantctl.notice/1"}, f"Bearer {SECRET}")]
    assert outbox.the_one().state == "SENT"
    outbox.round()
    assert len(receiver.got) == 1
    for file in outbox.places.data_dir.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


@pytest.mark.parametrize("fault", [500, 404, 302, "reset"])
def test_a_webhook_that_fails_is_tried_again_later_and_the_log_says_why(
    outbox: Outbox, receiver: Receiver, fault: int | str
) -> None:
    receiver.faults = [fault, fault]
    outbox.post(webhook_url_env="HOOK")
    outbox.round()
    outbox.round()
    assert (outbox.the_one().state, outbox.the_one().tries) == ("OPEN", 1)
    outbox.now += timedelta(seconds=2)
    outbox.round()
    outbox.now += timedelta(seconds=7)
    outbox.round()
    assert receiver.got == []
    outbox.now += timedelta(seconds=1)
    outbox.round()
    assert len(receiver.got) == 1
    assert "webhook not told, try 2" in outbox.log()
    assert SECRET not in outbox.log()


def test_a_webhook_that_hangs_is_left_after_its_time(outbox: Outbox, receiver: Receiver) -> None:
    receiver.faults = ["hang"]
    outbox.post(webhook_url_env="HOOK", timeout_seconds=0.2)
    outbox.round()
    assert outbox.the_one().problem == "the URL in HOOK: ReadTimeout"


def test_after_the_last_try_it_is_given_up_and_not_tried_by_itself(
    outbox: Outbox, receiver: Receiver
) -> None:
    receiver.faults = [500] * 9
    outbox.post(webhook_url_env="HOOK", tries=2)
    for _ in range(5):
        outbox.round()
        outbox.now += timedelta(hours=2)
    assert (outbox.the_one().state, outbox.the_one().tries) == ("DROPPED", 2)
    assert outbox.the_one().problem == "the URL in HOOK answered 500"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (None, "variable HOOK is not set in this process"),
        (f"nonsense {SECRET}", "the URL in HOOK: UnsupportedProtocol"),
        (f"http://host:{SECRET}/", "the URL in HOOK: InvalidURL"),
        ("http://127.0.0.1:1/", "the URL in HOOK: ConnectError"),
    ],
)
def test_a_url_that_is_missing_or_wrong_is_not_repeated(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, url: str | None, told: str
) -> None:
    if url is None:
        monkeypatch.delenv("HOOK", raising=False)
    else:
        monkeypatch.setenv("HOOK", url)
    outbox.post(webhook_url_env="HOOK")
    outbox.round()
    assert outbox.the_one().problem == told


def test_a_command_gets_the_facts_as_variables_and_its_words_as_they_are(
    outbox: Outbox, tmp_path: Path
) -> None:
    code = """
import os, sys
given = [f"{key}={value}" for key, value in os.environ.items() if key.startswith("QUANTCTL_")]
open(sys.argv[1], "w").write(" ".join([*given, sys.argv[2]]))
"""
    outbox.post(command=(*command(code), str(tmp_path / "out"), "; rm -rf $HOME"))
    outbox.round()
    told = (tmp_path / "out").read_text()
    assert "QUANTCTL_RUN_ID=r1" in told
    assert "QUANTCTL_STATE=FAILED" in told
    assert "QUANTCTL_EXIT_CODE=1" in told
    assert told.endswith("; rm -rf $HOME")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (command("raise SystemExit(3)"), "exited with 3"),
        (("/no/such/program",), "can't be started: No such file or directory"),
        (command("import time; time.sleep(60)"), "took longer than 0.2 s"),
    ],
)
def test_a_command_that_fails_is_tried_again(outbox: Outbox, words: tuple[str, ...], told: str) -> None:
    outbox.post(command=words, timeout_seconds=0.2)
    outbox.round()
    assert told in str(outbox.the_one().problem)
    assert outbox.the_one().state == "OPEN"


def test_what_a_command_started_is_ended_with_it(tmp_path: Path) -> None:
    child = f"import time; time.sleep(2); open({str(tmp_path / 'late')!r}, 'w')"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {child!r}])"
    means = {"command": command(code), "timeout_seconds": 0.5}
    with pytest.raises(NotToldError):
        tell(Notice("r1", 1, "command", FACTS, means, "OPEN", 0, "", None, None))
    time.sleep(2.5)
    assert not (tmp_path / "late").exists()


@pytest.mark.parametrize("point", ["notice.taken", "notice.sent"])
def test_a_process_that_dies_around_sending_is_made_good_by_the_next_one(
    outbox: Outbox, receiver: Receiver, point: str
) -> None:
    outbox.post(webhook_url_env="HOOK")

    def die(name: str) -> None:
        if name == point:
            raise KeyboardInterrupt

    fault_points.arm(die)
    with pytest.raises(KeyboardInterrupt):
        outbox.round()
    fault_points.disarm()
    outbox.round()
    assert outbox.the_one().state == "OPEN"
    outbox.now += timedelta(seconds=15)
    outbox.round()
    assert outbox.the_one().state == "SENT"
    assert len(receiver.got) == (2 if point == "notice.sent" else 1)


def test_two_processes_that_look_together_send_once(outbox: Outbox, receiver: Receiver) -> None:
    outbox.post(webhook_url_env="HOOK")
    (notice,) = outbox.all()
    told = [attempt(outbox.places, outbox.engine, notice, lambda: START) for _ in range(2)]
    assert told == [True, False]
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("settings", "channels"),
    [
        ({}, []),
        ({"command": ["x"], "on": ["SUCCESS"]}, []),
        ({"command": ["x"], "on": ["FAILED"]}, ["command"]),
        ({"command": ["x"], "webhook_url_env": "HOOK"}, ["command", "webhook"]),
    ],
)
def test_only_the_ends_that_are_asked_for_are_told(
    outbox: Outbox, settings: dict[str, Any], channels: list[str]
) -> None:
    outbox.post(**settings)
    outbox.post(**settings)
    assert sorted(notice.channel for notice in outbox.all()) == channels


def test_a_courier_tells_beside_the_runs_but_not_of_one_that_is_still_closing(
    outbox: Outbox, receiver: Receiver, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    runtime = Runtime(outbox.places, "worker-1", outbox.engine, None, 0, threading.Event())
    runtime.active["r1"] = object()
    outbox.post(webhook_url_env="HOOK")
    outbox.post("r2", webhook_url_env="HOOK")
    courier = Courier(runtime)
    courier.start()
    eventually(lambda: len(receiver.got) == 1)
    assert receiver.got[0][0]["run_id"] == "r2"
    runtime.active.clear()
    courier.close(last_round=True)
    assert sorted(body["run_id"] for body, _ in receiver.got) == ["r1", "r2"]


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    def wait(met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not met() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert met()

    return wait
