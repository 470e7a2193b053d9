"""Operation through the front door: schedules that fire, ends that are told, a worker under a supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


def eventually(met: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait until something is so; a process that ends meanwhile fails at once."""
    deadline = time.monotonic() + 120
    while not met() and time.monotonic() < deadline:
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.1)
    assert met()


class Hook:
    """A local webhook that answers 200, or nothing while it is `holding`."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.holding = threading.Event()
        self.release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                if outer.holding.is_set():
                    outer.release.wait()
                    return
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    found = Hook()
    monkeypatch.setenv("TEST_HOOK", f"http://127.0.0.1:{found.server.server_address[1]}/")
    yield found
    found.release.set()
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def door(fair: Any, tmp_path: Path) -> Any:
    """The small market, before any run, with a directory of profiles of its own."""
    found = fair.copy(tmp_path)
    (tmp_path / "profiles").mkdir()
    return found


def write(door: Any, name: str, schedule: str, base: str = "development") -> None:
    """A profile with a schedule."""
    text = f"description: x\nextends: {base}\nschedule: {schedule}\n"
    (door.data.parent / "profiles" / f"{name}.yaml").write_text(text)


def sets(door: Any, *more: str) -> tuple[str, ...]:
    """Options of every command over this market."""
    return (f"paths.profiles_dir={door.data.parent / 'profiles'}", "orchestration.min_free_mb=0", *more)


def notices(door: Any) -> list[dict[str, Any]]:
    """What `notify list` says."""
    rows: list[dict[str, Any]] = door("notify", "list", "--json").document["data"]
    return rows


def test_a_worker_fires_data_and_then_the_sleeve_and_drains_on_sigterm(door: Any) -> None:
    write(door, "nightly", '{pipeline: data.full, cron: "*/15 * * * * *"}')
    write(door, "sleeve", "{after: nightly}")
    applied = door("schedule", "apply", "--json", sets=sets(door)).document["data"]["changes"]
    assert [row["change"] for row in applied] == ["added", "added"]
    worker = door.process("worker", sets=sets(door))

    def sleeves() -> list[dict[str, Any]]:
        rows = door("schedule", "times", "sleeve", "--json").document["data"]
        return [row for row in rows if row["run_state"] == "SUCCESS"]

    eventually(lambda: bool(sleeves()), worker)
    worker.send_signal(signal.SIGTERM)
    out, err = worker.communicate(timeout=60)
    assert worker.returncode == 0, err
    assert out.endswith("drained; nothing lost\n")
    fired = sleeves()[-1]
    assert fired["run_id"].startswith("sleeve_")
    leader = fired["run_id"].replace("sleeve", "nightly")
    assert door.sdk.status(leader).state == "SUCCESS"
    _, rows = door.sdk.query_rows("SELECT run_id, count(*) FROM ledger WHERE type = 'genesis' GROUP BY ALL")
    assert {count for _, count in rows} == {1}


def test_a_sleeve_after_a_failed_data_run_is_held_and_the_list_says_why(door: Any) -> None:
    write(door, "nightly", '{pipeline: data.full, cron: "*/5 * * * * *"}')
    write(door, "sleeve", "{after: nightly}")
    assert door("schedule", "apply", sets=sets(door)).exit == 0
    for part in (door.data / "lakehouse").rglob("*.parquet"):
        part.write_bytes(b"damaged")
    worker = door.process("worker", sets=sets(door))
    rows: list[dict[str, Any]] = []

    def held() -> bool:
        nonlocal rows
        rows = door("schedule", "times", "sleeve", "--json").document["data"]
        return any(row["state"] in ("HELD", "STARTED") for row in rows)

    try:
        eventually(held, worker)
    finally:
        worker.terminate()
        worker.communicate(timeout=60)
    last = rows[-1]
    assert (last["state"], last["code"], last["run_state"]) == ("HELD", "SCHEDULE_LEADER", None)
    leader = last["run_id"].replace("sleeve", "nightly")
    assert last["reason"].startswith(f"run {leader} is FAILED")
    assert door.sdk.status(leader).state == "FAILED"


def test_the_end_of_a_run_is_told_after_its_close_and_changes_nothing_of_it(door: Any, hook: Hook) -> None:
    told = sets(door, "notify.webhook_url_env=TEST_HOOK")
    assert door.run("r1", *told).exit == 0
    (body,) = hook.got
    _, rows = door.sdk.query_rows("SELECT hash FROM ledger WHERE run_id = 'r1' ORDER BY seq DESC LIMIT 1")
    assert body["head_hash"] == rows[0][0]
    assert (body["run_id"], body["state"], body["exit_code"]) == ("r1", "SUCCESS", 0)
    assert [row["state"] for row in notices(door)] == ["SENT"]
    assert door.sdk.verify_ledger("r1")["ok"]


def test_a_receiver_that_is_away_leaves_the_exit_code_of_the_run(
    door: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_HOOK", "http://127.0.0.1:9/")
    assert door.run("r1", *sets(door, "notify.webhook_url_env=TEST_HOOK", "notify.tries=1")).exit == 0
    (row,) = notices(door)
    assert (row["state"], row["problem"]) == ("DROPPED", "the URL in TEST_HOOK: ConnectError")
    doctor = {check["name"]: check for check in door("doctor", "--json").document["data"]}
    assert doctor["notices"]["status"] == "warn"
    assert doctor["notices"]["remedy"] == "quantctl notify send r1"
    refused = door("notify", "send", "r1", "--json")
    assert refused.exit == 3
    assert refused.document["error"]["code"] == "NOTICE_FAILED"


def test_a_kill_between_close_and_sending_is_made_good_by_the_next_process(door: Any, hook: Hook) -> None:
    hook.holding.set()
    given = sets(door, "notify.webhook_url_env=TEST_HOOK")
    words = ("run", "--profile", "development", "--pipeline", "selection.full", "--run-id", "r1")
    process = door.process(*words, sets=given)
    eventually(lambda: len(hook.got) == 1)
    process.kill()
    process.communicate()
    assert door.sdk.status("r1").state == "SUCCESS"
    assert [(row["state"], row["tries"]) for row in notices(door)] == [("OPEN", 1)]
    hook.holding.clear()
    hook.release.set()
    sent = door("notify", "send", "--json")
    assert sent.exit == 0
    assert [row["state"] for row in sent.document["data"]] == ["SENT"]
    assert hook.got[0] == hook.got[1]


def test_doctor_names_runs_that_nobody_executes_and_the_command_for_each(
    interrupted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantctl.checks_of_runs.WAITING", timedelta(0))
    words = ("run", "--profile", "development", "--pipeline", "selection.full", "--run-id", "later")
    assert interrupted(*words, "--no-wait", sets=("orchestration.min_free_mb=0",)).exit == 0
    found = {check["name"]: check for check in interrupted("doctor", "--json").document["data"]}
    assert found["interrupted runs"]["detail"].startswith("base at selection.")
    assert found["interrupted runs"]["remedy"] == "quantctl resume base"
    assert found["queued runs"]["detail"] == "no worker for later"
    assert found["queued runs"]["remedy"] == "quantctl worker, or quantctl resume later"
    assert found["worker"]["detail"].endswith("gone, and its runs not taken up: run-base")


def test_dbos_start_runs_the_worker_and_a_sigterm_to_its_group_drains_it(door: Any, tmp_path: Path) -> None:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    command = bin_dir / "quantctl"
    command.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m quantctl --set paths.data_dir="{door.data}" "$@"\n'
    )
    command.chmod(0o755)
    (tmp_path / "dbos-config.yaml").write_text(
        "name: quantctl\nlanguage: python\nruntimeConfig:\n  start:\n    - exec quantctl worker\n"
    )
    dbos = Path(sys.executable).with_name("dbos")
    out = tmp_path / "out"
    with out.open("w") as sink:
        process = subprocess.Popen(
            [str(dbos), "start"], cwd=tmp_path, stdout=sink, stderr=sink, start_new_session=True,
            env=os.environ | {"PATH": f"{bin_dir}:{os.environ['PATH']}"},
        )  # fmt: skip
    eventually(lambda: "worker-1 serves" in out.read_text())
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 1
    eventually(lambda: "drained; nothing lost" in out.read_text())
