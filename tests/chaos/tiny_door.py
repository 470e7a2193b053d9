"""The front door with the tiny pipeline behind it: real processes over a small simulated lake.

As a script it is the command line (`python tiny_door.py run --pipeline tiny.full ...`); as a module it
starts that script, and looks at what it left.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from timed import TIMED

PROFILE = "binance_spot_rating_all_long"
WRITES = ("write", "directory", "append", "attempt", "latest", "catalog", "projection")


class Door:
    """Commands over one data directory, each in a process of its own.

    env : variables of every command, such as `TV_STATE_URL`
    """

    def __init__(self, data: Path, env: dict[str, str] | None = None) -> None:
        self.data = data
        self.env = dict(env or {})

    def __call__(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self._command(words), env=os.environ | self.env | env, cwd=self.data.parent, text=True,
            capture_output=True, timeout=180,
        )  # fmt: skip

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            self._command(words), env=os.environ | self.env | env, cwd=self.data.parent, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def copy(self, root: Path, env: dict[str, str] | None = None) -> Door:
        """The same lake below `root`, without the runs."""
        ignore = shutil.ignore_patterns("state", "ledger", "catalog.duckdb", "summaries")
        shutil.copytree(self.data, root / "data", ignore=ignore)
        return Door(root / "data", env)

    def wait_inside(self, stage: str, run_id: str = "k1", seconds: float = 60.0) -> None:
        """Wait until `stage` of a run computes."""
        log, begun = self.root(run_id) / "logs" / "spans.jsonl", f'"name":"{stage}"'
        deadline = time.monotonic() + seconds
        while not log.exists() or begun not in log.read_text():
            assert time.monotonic() < deadline, f"{stage} did not begin in {seconds:g} s"
            time.sleep(0.05)

    def whole_copy(self, root: Path) -> Door:
        """Everything below `root`, runs and state too."""
        shutil.copytree(self.data, root / "data", symlinks=True)
        return Door(root / "data", self.env)

    def files(self, run_id: str = "") -> dict[str, bytes]:
        """Every file of the run directories, or of one of them, logs left out."""
        runs = self.root("x").parent
        found = (path for path in sorted((runs / run_id).rglob("*")) if path.is_file())
        table = {path.relative_to(runs).as_posix(): path.read_bytes() for path in found}
        return {name: data for name, data in table.items() if "/logs/" not in name}

    def killed_in(self, stage: str, *words: str, run_id: str = "k1") -> None:
        """Start a command, and kill it once `stage` computes."""
        process = self.start(*words, TINY_SLOW="60", TINY_SLOW_AT=stage)
        self.wait_inside(stage, run_id)
        process.kill()
        process.communicate()

    def records(self, run_id: str = "k1") -> list[dict[str, Any]]:
        """The ledger of a run, from the state database."""
        from quantctl.lake import ledger, state

        with state.reader(self.state_url) as connection:
            return list(ledger.records(connection, run_id)) if connection else []

    @property
    def state_url(self) -> str:
        """Where the runs are kept."""
        from quantctl.lake.state import default_url

        return self.env.get("TV_STATE_URL") or default_url(self.data)

    def root(self, run_id: str = "k1") -> Path:
        """Directory of a run."""
        return self.data / "artifacts" / "summaries" / "runs" / run_id

    def trace(self, run_id: str = "k1") -> dict[str, Any]:
        """`forensic_trace.json` of a run."""
        return json.loads((self.root(run_id) / "forensic_trace.json").read_bytes())

    def result(self, run_id: str = "k1") -> tuple[dict[str, bytes], list[str]]:
        """What equal runs have in common: bytes of artifacts, bodies of records."""
        files = (path for path in sorted(self.root(run_id).rglob("*")) if path.is_file())
        table = {path.relative_to(self.root(run_id)).as_posix(): path.read_bytes() for path in files}
        plain = {k: v for k, v in table.items() if k not in TIMED and not k.startswith("logs/")}
        return plain, [record["body_hash"] for record in self.records(run_id)]

    def _command(self, words: tuple[str, ...]) -> list[str]:
        settings = (f"paths.data_dir={self.data}", "orchestration.min_free_mb=0")
        options = [word for text in settings for word in ("--set", text)]
        return [sys.executable, str(Path(__file__)), *options, *words]


def run_words(run_id: str = "k1", *more: str, pipeline: str = "tiny.full") -> tuple[str, ...]:
    """The command that runs a tiny pipeline."""
    return ("run", "--profile", PROFILE, "--pipeline", pipeline, "--run-id", run_id, *more)


def prepared(root: Path) -> Door:
    """A simulated lake of a few symbols."""
    door = Door(root / "data")
    door.data.mkdir()
    done = door("data", "simulate", "--symbols", "12", "--days", "120")
    assert done.returncode == 0, done.stdout + done.stderr
    return door


def load_tiny() -> None:
    """Register the tiny pipeline in this process."""
    spec = importlib.util.spec_from_file_location("tiny_pipeline", Path(__file__).with_name("tiny.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_pipeline"] = module
    spec.loader.exec_module(module)
    module.register()


class FailingDisk:
    """From the n-th write point on, every write point fails with one error of the operating system."""

    def __init__(self, number: int, at: int, tally: str | None) -> None:
        self.number, self.at, self.tally, self.seen = number, at, tally, 0

    def __call__(self, point: str) -> None:
        if point.partition(".")[0] not in WRITES:
            return
        self.seen += 1
        if self.tally is not None:
            Path(self.tally).write_text(str(self.seen))
        if self.at and self.seen >= self.at:
            raise OSError(self.number, os.strerror(self.number), f"at {point}")


def break_what_is_asked() -> None:
    """Arm this process with what the test asked for: a failing disk, a small database, a clock set back."""
    asked = os.environ
    if "DOOR_FAIL_AT" in asked:
        from quantctl.lake import fault_points

        number = int(asked.get("DOOR_ERRNO", "0"))
        fault_points.arm(FailingDisk(number, int(asked["DOOR_FAIL_AT"]), asked.get("DOOR_TALLY")))
    if "DOOR_PAGES" in asked:
        import sqlalchemy as sa

        pages = f"PRAGMA max_page_count={int(asked['DOOR_PAGES'])}"
        sa.event.listen(sa.Engine, "connect", lambda connection, _: connection.execute(pages))
    if "DOOR_PROTOCOL" in asked:
        from quantctl.workflows import versions

        versions.PROTOCOL = asked["DOOR_PROTOCOL"]
    if "DOOR_CLOCK" in asked:
        from datetime import UTC, datetime, timedelta

        from quantctl.workflows import book, lives

        class Back(datetime):
            @classmethod
            def now(cls, tz=UTC):  # type: ignore[no-untyped-def]
                return datetime.now(tz) - timedelta(hours=float(asked["DOOR_CLOCK"]))

        book.datetime = lives.datetime = Back  # type: ignore[attr-defined,misc]


if __name__ == "__main__":
    from quantctl.cli import run

    load_tiny()
    break_what_is_asked()
    run()
