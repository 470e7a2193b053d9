"""The command line as a test uses it, with what a refusal must keep: nothing lost, nothing half-written."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timed import TIMED

from quantctl.cli import main
from quantctl.sdk import QuantSDK

LONG, SHORT = "binance_spot_rating_all_long", "binance_spot_rating_all_short"
SLIM = ('allocation.risk_profiles=["hrp","equal_weight"]', "orchestration.min_free_mb=0")


@dataclass(frozen=True)
class Answer:
    """What a command did: exit code, stdout, stderr."""

    exit: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Stdout as one JSON document; anything else beside it is an error."""
        return json.loads(self.out)

    def is_refusal(self, code: str, exit_code: int) -> str:
        """Assert the contract of a failure on both streams; returns message and remedy."""
        assert self.exit == exit_code, f"exit {self.exit}: {self.err}"
        lines = self.err.splitlines()
        errors = [line for line in lines if line.startswith("error[")]
        remedies = [line for line in lines if line.startswith("remedy: ")]
        assert len(errors) == len(remedies) == 1, self.err
        assert errors[0].startswith(f"error[{code}] "), errors[0]
        assert remedies[0] not in ("remedy: ", "remedy: none known"), errors[0]
        assert self.document["ok"] is False
        error = self.document["error"]
        assert (error["code"], error["exit"]) == (code, exit_code)
        assert {"message", "remedy", "run_id", "artifact"} <= error.keys()
        return f"{errors[0]}\n{remedies[0]}"


class FrontDoor:
    """Commands over one data directory, in this process; `process` starts them in one of their own."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.sdk = QuantSDK(overrides=[f"paths.data_dir={data}"], env={})

    def __call__(self, *words: str, sets: tuple[str, ...] = ()) -> Answer:
        """Run a command line in this process."""
        out, err = io.StringIO(), io.StringIO()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(self._words(words, sets))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Answer(code, out.getvalue(), err.getvalue())

    def process(self, *words: str, sets: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start a command line in a process of its own."""
        command = [sys.executable, "-m", "quantctl", *self._words(words, sets)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, text=True, stdout=pipe, stderr=pipe, cwd=self.data.parent)

    def refuses(
        self, code: str, exit_code: int, *words: str, sets: tuple[str, ...] = (), broken: str = ""
    ) -> str:
        """A command that must fail with `code` and leave all else as it was; `broken` is a damaged file."""
        before = self.possessions()
        told = self(*words, "--json", sets=sets).is_refusal(code, exit_code)
        self.kept(before, broken)
        return told

    def run(self, run_id: str, *sets: str, profile: str = LONG, pipeline: str = "selection.full") -> Answer:
        """`run --json` of a profile."""
        words = ("run", "--profile", profile, "--pipeline", pipeline, "--run-id", run_id, "--json")
        return self(*words, sets=("orchestration.min_free_mb=0", *sets))

    def kill_at(self, stage: str, *words: str, sets: tuple[str, ...] = ()) -> None:
        """Start a command in a process of its own and kill it when `stage` of its run is opened."""
        process = self.process(*words, sets=sets)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if stage in self.opened():
                break
            time.sleep(0.02)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL

    def opened(self) -> set[str]:
        """Stages that any run has begun."""
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.state}?mode=ro", uri=True)) as connection:
                return {step for (step,) in connection.execute("SELECT DISTINCT step FROM run_ledger")}
        except sqlite3.OperationalError:
            return set()

    @property
    def state(self) -> Path:
        """The state database."""
        return self.data / "state" / "quantctl.sqlite"

    def possessions(self) -> dict[str, str]:
        """Hashes of all that a command must not lose: lake, run directories, records of runs."""
        roots = (self.data / "lakehouse", self.runs_dir)
        files = [path for root in roots for path in root.rglob("*") if path.is_file()]
        found = {str(path.relative_to(self.data)): _sha(path.read_bytes()) for path in files}
        return found | {f"ledger {run} {seq}": body for run, seq, body in self.ledger_bodies()}

    def kept(self, before: dict[str, str], broken: str = "") -> None:
        """Assert that all of `before` is still there unchanged, and that what is new is whole."""
        after = self.possessions()
        changed = [name for name, sha in before.items() if after.get(name) != sha]
        assert changed == []
        fresh = after.keys() - before.keys()
        assert [name for name in fresh if name.startswith("lakehouse") or "/.tmp-" in name] == []
        for run_id in {name.split()[1] for name in fresh if name.startswith("ledger ")}:
            report = self.sdk.verify_ledger(run_id)
            assert [f for f in report["findings"] if f["details"].get("path") != broken] == []

    def ledger_bodies(self, run_id: str | None = None) -> list[tuple[str, int, str]]:
        """(run id, sequence, body hash) of the records in the state database."""
        if not self.state.exists():
            return []
        query = "SELECT run_id, seq, body_hash FROM run_ledger ORDER BY run_id, seq"
        with contextlib.closing(sqlite3.connect(f"file:{self.state}?mode=ro", uri=True)) as connection:
            rows = connection.execute(query).fetchall()
        return [tuple(row) for row in rows if run_id in (None, row[0])]

    @property
    def runs_dir(self) -> Path:
        """Directory of the run directories."""
        return self.data / "artifacts" / "summaries" / "runs"

    def file(self, run_id: str, relative: str) -> Any:
        """A JSON file of a run."""
        return json.loads((self.runs_dir / run_id / relative).read_bytes())

    def findings(self, run_id: str) -> list[str]:
        """Codes of the findings in a run's ledger."""
        _, rows = self.sdk.query_rows(f"SELECT code FROM findings WHERE run_id = '{run_id}'")
        return [code for (code,) in rows]

    def result(self, run_id: str) -> tuple[dict[str, str], list[str]]:
        """What equal runs have in common: bytes of artifacts, bodies of records."""
        root = self.runs_dir / run_id
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
        names = {path.relative_to(root).as_posix(): path for path in files}
        plain = {n: _sha(p.read_bytes()) for n, p in names.items() if n not in TIMED and n[:5] != "logs/"}
        return plain, [body for _, _, body in self.ledger_bodies(run_id)]

    def copy(self, root: Path) -> FrontDoor:
        """The same over a copy below `root`, which may be damaged."""
        shutil.copytree(self.data, root / "data", symlinks=True)
        return FrontDoor(root / "data")

    def _words(self, words: tuple[str, ...], sets: tuple[str, ...]) -> list[str]:
        options = [word for text in (f"paths.data_dir={self.data}", *sets) for word in ("--set", text)]
        return [*options, *words]


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
