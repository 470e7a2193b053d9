"""A small simulated market, made once; grounds are copies of it, each with a state database of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from harness.lives import Ended, Life, Nursery, executed

PROFILE = "binance_spot_rating_all_short"
SIZE = ("--symbols", "24", "--days", "500")  # the smallest on which every stage and gate of PROFILE passes
LEFT_OUT = ("state", "ledger", "catalog.duckdb", "cache", "latest")
WRITTEN_IN_PLACE = ("audit.jsonl", "run.jsonl", "spans.jsonl", "quantctl.sqlite")


@dataclass
class Ground:
    """One data directory and the state database of its runs.

    env : variables of every command; empty for the embedded SQLite file
    drop : ends the database
    """

    root: Path
    nursery: Nursery
    env: dict[str, str] = field(default_factory=dict)
    drop: Callable[[], None] = lambda: None

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.root / "data"

    @property
    def state_url(self) -> str:
        """Where the runs are kept."""
        from quantctl.lake.state import default_url

        return self.env.get("TV_STATE_URL") or default_url(self.data)

    def run_root(self, run_id: str) -> Path:
        """Directory of a run."""
        return self.data / "artifacts" / "summaries" / "runs" / run_id

    def words(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """A command with the options that every command here takes."""
        settings = (f"paths.data_dir={self.data}", "orchestration.min_free_mb=0",
                    "orchestration.lease_seconds=1")  # fmt: skip
        return (*(word for text in settings for word in ("--set", text)), *words)

    def start(self, *words: str, fuse: dict[str, Any] | None = None, control: str | None = None) -> Life:
        """A life forked from the zygote."""
        return self.nursery.start(self.words(words), self.root, env=self.env, fuse=fuse, control=control)

    def __call__(self, *words: str) -> str:
        """The output of a command that must succeed."""
        done = self.start(*words).wait()
        assert done.code == 0, f"{words}: {done.code}\n{done.output}"
        return done.output

    def executed(self, *words: str, seconds: float | None = None) -> Ended:
        """A true process, killed from outside after so many seconds."""
        return executed(self.words(words), self.root, self.env, seconds)

    def remove(self) -> None:
        """Remove directory and database."""
        shutil.rmtree(self.root)
        self.drop()


class Market:
    """The lake from which grounds are copied.

    server : of tests/postgres.py where grounds keep their state in Postgres, else null
    """

    def __init__(self, root: Path, nursery: Nursery, server: Any = None) -> None:
        self.root, self.nursery, self.server = root, nursery, server
        self._names = count()

    def make(self) -> None:
        """Simulate, compute features, judge health, publish candidates."""
        whole = Ground(self.root / "market", self.nursery)
        whole.data.mkdir(parents=True)
        whole("data", "simulate", *SIZE)
        whole("data", "features", "--all-symbols", "--yes")
        whole("data", "audit")
        whole("data", "candidates", "--profile", PROFILE)

    def ground(self, state: str, like: Ground | None = None) -> Ground:
        """A copy of the market, or of another ground at rest with its runs.

        state : `sqlite` or `postgres`
        """
        number = next(self._names)
        ground = Ground(self.root / f"ground-{number}", self.nursery)
        source = like.data if like is not None else self.root / "market" / "data"
        left_out = shutil.ignore_patterns(*(("catalog.duckdb",) if like is not None else LEFT_OUT))
        shutil.copytree(source, ground.data, symlinks=True, copy_function=_shared, ignore=left_out)
        if state == "postgres":
            self._database(ground, f"chaos_{number}", like)
        return ground

    def _database(self, ground: Ground, name: str, like: Ground | None) -> None:
        assert self.server is not None
        template = (like.env["TV_STATE_URL"] if like is not None else self._template()).rsplit("/", 1)[1]
        self.server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        ground.env["TV_STATE_URL"] = self.server.url(name)
        ground.drop = lambda: self.server.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _template(self) -> str:
        if not hasattr(self, "_empty"):
            self._empty = self.server.database()
        return str(self._empty)


def _shared(source: str, target: str) -> None:
    """Share what is only ever replaced, copy what is written in place."""
    if os.path.basename(source).startswith(WRITTEN_IN_PLACE) or source.endswith(".lock"):
        shutil.copyfile(source, target)
    else:
        os.link(source, target)
