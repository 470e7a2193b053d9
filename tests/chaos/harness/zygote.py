"""A process that has imported everything and forks one child per life.

Starting an interpreter with the engine and the solvers costs ten times what a resumed run computes. A
fork of this process is that interpreter just after its imports. It is sound because nothing runs here but
the main thread: the threads that libraries start while they are imported only sleep (`ASLEEP`), hold no
lock and are told apart by name before every fork; there is no connection, no pool and no open file of the
product. Each child calls the console entry point with its words.

It speaks JSON lines: a request `{id, words, env, cwd, out, fuse, control}` on stdin, `{id, status, cpu,
trace}` on stdout once the child is gone and reaped (`status` as from `waitpid`, CPU seconds).
"""

from __future__ import annotations

import gc
import heapq
import json
import os
import selectors
import signal
import sys
import time
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

LIBRARIES = (
    "dbos", "duckdb", "polars", "psycopg", "sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite",
    "quantctl.workflows.admin", "quantctl.workflows.atomic",
)  # fmt: skip
ASLEEP = {"polars-ooc-clea"}  # the cleaner of files that out-of-core queries spill, of which there are none
QUIET = {"_RJEM_MALLOC_CONF": "background_thread:false"}  # variable for polars' allocator: no purging threads


def warm() -> None:
    """Import what any command may import, and build every pipeline."""
    for module in LIBRARIES:
        import_module(module)

    from quantctl.commands import ROWS
    from quantctl.workflows import pipelines, registry

    for module in sorted({row.module for row in ROWS}):
        import_module(f"quantctl.commands.{module}")
    for name in pipelines.PIPELINES:
        registry.build(name)
    gc.collect()
    gc.freeze()


def check_alone() -> None:
    """Only sleeping threads of libraries are beside the main one."""
    others = [task for task in os.listdir("/proc/self/task") if int(task) != os.getpid()]
    names = {_text(f"/proc/self/task/{task}/comm") for task in others}
    assert names <= ASLEEP, f"threads run in the zygote: {sorted(names - ASLEEP)}"


def _text(path: str) -> str:
    with open(path) as stream:
        return stream.read().strip()


@dataclass
class Child:
    """One life, its report so far, and when it is to be killed from outside."""

    id: int
    pid: int
    pipe: int
    fuse: dict[str, Any]
    trace: bytearray = field(default_factory=bytearray)

    def due(self) -> bool:
        """Whether the point is reached after which a timer runs (`after` seconds)."""
        return "after" in self.fuse and self.trace.count(b"\n") >= self.fuse.get("reach", 0)


class Zygote:
    """The loop: requests in, children forked, reports out."""

    def __init__(self) -> None:
        self.events = selectors.DefaultSelector()
        self.children: dict[int, Child] = {}
        self.timers: list[tuple[float, int]] = []
        self.pending = b""

    def serve(self) -> None:
        """Until stdin ends; children that live then are killed."""
        os.set_blocking(0, False)
        self.events.register(0, selectors.EVENT_READ)
        while True:
            wait = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None
            for key, _ in self.events.select(wait):
                if key.fd == 0:
                    if not self._requests():
                        return self._end()
                else:
                    self._reported(self.children[key.fd])
            while self.timers and self.timers[0][0] <= time.monotonic():
                self._kill(heapq.heappop(self.timers)[1])

    def _requests(self) -> bool:
        try:
            data = os.read(0, 1 << 20)
        except BlockingIOError:
            return True
        *lines, self.pending = (self.pending + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "kill" in request:
                self._kill(request["kill"])
            else:
                self._fork(request)
        return bool(data)

    def _fork(self, request: dict[str, Any]) -> None:
        check_alone()
        mine, its = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(mine)
            live(request, its)
        os.close(its)
        child = Child(request["id"], pid, mine, request["fuse"])
        self.children[mine] = child
        self.events.register(mine, selectors.EVENT_READ)
        self._watch(child)

    def _reported(self, child: Child) -> None:
        data = os.read(child.pipe, 1 << 16)
        if data:
            child.trace += data
            self._watch(child)
            return
        self.events.unregister(child.pipe)
        os.close(child.pipe)
        del self.children[child.pipe]
        _, status, used = os.wait4(child.pid, 0)
        reply = {"id": child.id, "status": status, "cpu": used.ru_utime + used.ru_stime}
        print(json.dumps(reply | {"trace": child.trace.decode().splitlines()}), flush=True)

    def _watch(self, child: Child) -> None:
        if child.due():
            heapq.heappush(self.timers, (time.monotonic() + child.fuse.pop("after"), child.id))

    def _kill(self, number: int) -> None:
        for child in self.children.values():  # not reaped yet, so the process id is still its own
            if child.id == number:
                os.kill(child.pid, signal.SIGKILL)

    def _end(self) -> None:
        for child in self.children.values():
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)


def live(request: dict[str, Any], pipe: int) -> None:
    """The child: become the command line, and never return."""
    code = 70
    try:
        os.chdir(request["cwd"])
        os.environ.update(request["env"])
        out = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ["quantctl", *request["words"]]
        if request["control"]:
            import_module("harness.controls").spoil(request["control"])
        from harness.fuse import Fuse

        fuse = dict(request["fuse"])
        Fuse(pipe, fuse | {"self": "after" not in fuse}).arm()
        from quantctl.cli import run

        run()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:  # noqa: BLE001  (a child never returns into the loop of the zygote)
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import harness.fuse  # noqa: F401

    warm()
    print(json.dumps({"ready": os.getpid()}), flush=True)
    Zygote().serve()
