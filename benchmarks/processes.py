"""Fresh processes of the product, measured from exec to exit: CPU of the whole process tree."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LIFE = Path(__file__).with_name("one_life.py")


@dataclass(frozen=True)
class Spent:
    """What a process took (CPU seconds, user and system) and how it ended."""

    cpu: float
    exit: int
    out: str


def spent(scratch: Path, *command: str, **env: str) -> Spent:
    """Run a command. Bytecode is cached below `scratch`, as on any machine that ran it before."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    kept |= {"PYTHONPYCACHEPREFIX": str(scratch / "bytecode"), "OPENBLAS_NUM_THREADS": "1"} | env
    with (scratch / "stderr").open("w+") as err:
        process = subprocess.Popen(command, env=kept, stdout=subprocess.PIPE, stderr=err, text=True)
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code > 0:
            err.seek(0)
            raise SystemExit(f"{' '.join(command[1:])} failed: {err.read()[-2000:]}")
    return Spent(usage.ru_utime + usage.ru_stime, code, out)


def expire_leases(url: str) -> None:
    """Let the leases of killed workers be over, so that nobody waits for their end."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE workers SET expires = 0")


def life(data: Path, verb: str, run_id: str, *words: str, url: str = "") -> Spent:
    """One life of a run over a data directory; `url` keeps its state in Postgres instead of below it."""
    place = {"TV_STATE_URL": url} if url else {}
    if url:
        expire_leases(url)
    return spent(data.parent, sys.executable, str(LIFE), str(data), verb, run_id, *words, **place)
