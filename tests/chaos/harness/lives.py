"""Lives of the command line: forked from a zygote, or true processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from harness.zygote import QUIET

HERE = Path(__file__).parent
SECONDS = 240.0  # after which a life counts as hanging


@dataclass(frozen=True)
class Ended:
    """How a life ended.

    code : exit code, or minus the signal that killed it
    trace : the fault points it reached, in order; the last is where it died, if it killed itself
    """

    code: int
    trace: list[str]
    output: str
    cpu: float = 0.0

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self.code == -signal.SIGKILL


class Life:
    """A life that runs."""

    def __init__(self, nursery: Nursery, number: int, out: Path) -> None:
        self._nursery, self.number, self._out = nursery, number, out
        self.reply: Future[dict[str, Any]] = Future()

    def wait(self, seconds: float = SECONDS) -> Ended:
        """Until it has ended and is reaped."""
        try:
            reply = self.reply.result(seconds)
        except TimeoutError:
            raise AssertionError(f"a life hangs: {self._out.read_text()}") from None
        text = self._out.read_text(errors="replace") if self._out.exists() else ""
        self._out.unlink(missing_ok=True)
        return Ended(os.waitstatus_to_exitcode(reply["status"]), reply["trace"], text, reply["cpu"])

    def kill(self) -> None:
        """SIGKILL, from outside."""
        self._nursery.send({"kill": self.number})


class Nursery:
    """A zygote and the lives forked from it."""

    def __init__(self) -> None:
        self._numbers = count()
        self._lives: dict[int, Life] = {}
        self._writing = threading.Lock()
        self._scratch = tempfile.TemporaryDirectory(prefix="lives-")
        self._complaints = (Path(self._scratch.name) / "zygote").open("w+")
        self._zygote = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={k: v for k, v in os.environ.items() if not k.startswith("TV_")} | QUIET, text=True,
        )  # fmt: skip
        assert self._zygote.stdout is not None
        first = self._zygote.stdout.readline()
        assert "ready" in first, self._gone()
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._zygote.stdin is not None
        self._zygote.stdin.close()
        self._zygote.wait(30)
        self._scratch.cleanup()

    def start(
        self, words: tuple[str, ...], cwd: Path, *, env: dict[str, str] | None = None,
        fuse: dict[str, Any] | None = None, control: str | None = None,
    ) -> Life:  # fmt: skip
        """Fork a life that runs `quantctl <words>` in `cwd`."""
        number = next(self._numbers)
        out = Path(self._scratch.name) / str(number)
        life = self._lives[number] = Life(self, number, out)
        self.send({"id": number, "words": words, "env": env or {}, "cwd": str(cwd), "out": str(out),
                   "fuse": fuse or {}, "control": control})  # fmt: skip
        return life

    def send(self, request: dict[str, Any]) -> None:
        """A line to the zygote."""
        assert self._zygote.stdin is not None
        with self._writing:
            self._zygote.stdin.write(json.dumps(request) + "\n")
            self._zygote.stdin.flush()

    def _listen(self) -> None:
        assert self._zygote.stdout is not None
        for line in self._zygote.stdout:
            reply = json.loads(line)
            self._lives.pop(reply["id"]).reply.set_result(reply)
        for life in self._lives.values():
            life.reply.set_exception(RuntimeError(self._gone()))

    def _gone(self) -> str:
        code = self._zygote.wait()
        self._complaints.seek(0)
        return f"the zygote is gone with {code}: {self._complaints.read()[-3000:]}"


def executed(words: tuple[str, ...], cwd: Path, env: dict[str, str], seconds: float | None) -> Ended:
    """A true process, killed from outside after `seconds`; null lets it end."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "quantctl", *words], cwd=cwd, env=os.environ | env, stdout=out, stderr=out
        )
        try:
            code = process.wait(seconds or SECONDS)
        except subprocess.TimeoutExpired:
            assert seconds is not None, "a process hangs"
            process.kill()
            code = process.wait()
        out.seek(0)
        return Ended(code, [], out.read())
