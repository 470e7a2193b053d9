"""Running benchmark files and keeping their lines, so that parts can be measured again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Line = dict[str, Any]


def measured(name: str, options: Sequence[str]) -> tuple[list[Line], int]:
    """Lines and exit code of `bench_<name>.py` in a fresh process; what it prints is shown as it comes."""
    command = [sys.executable, str(HERE / f"bench_{name}.py"), *options]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for text in process.stdout or ():
            print(text, end="", flush=True)
            if text.startswith("{"):
                lines.append(json.loads(text))
    return lines, process.returncode


class Store:
    """Lines of measurements in a file; of lines with equal `key` fields the newest stays."""

    def __init__(self, name: str, key: Sequence[str]) -> None:
        self._path = HERE.parent / "build" / "benchmarks" / f"{name}.jsonl"
        self._key = key

    def lines(self) -> list[Line]:
        """Lines of all measurements so far."""
        kept = self._path.read_text() if self._path.exists() else ""
        return [json.loads(text) for text in kept.splitlines()]

    def keep(self, lines: Iterable[Line]) -> None:
        """Add lines."""
        newest = {tuple(str(line.get(k)) for k in self._key): line for line in [*self.lines(), *lines]}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("".join(json.dumps(line) + "\n" for line in newest.values()))
