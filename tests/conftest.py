"""What every test stands on: no network but loopback, and none of the user's TV_ variables."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

# Modules that tests share are imported by their names; tests are no package.
sys.path[:0] = [str(Path(__file__).parent / name) for name in ("", "chaos", "e2e")]

import booked as booked_runs  # noqa: E402
import postgres  # noqa: E402

_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")
_connect = socket.socket.connect
# No test is timed: a busy machine finds no example too slow.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


def _guarded(self: socket.socket, address: Any) -> None:
    if self.family != socket.AF_UNIX and not str(address[0]).startswith(_LOOPBACK):
        raise AssertionError(f"a test connected to {address}")
    _connect(self, address)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _guarded)
    for name in [name for name in os.environ if name.startswith("TV_")]:
        monkeypatch.delenv(name)


class ByFile(LoadFileScheduling):
    """A file's tests stay in one process, and so do all that look at the demo: it is made once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/e2e" if "/e2e/" in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """The order in which `pytest -n` hands out tests."""
    return ByFile(config, log)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A Postgres of this machine's binaries, one per test process; the test is skipped without any."""
    reason = postgres.why_not()
    if reason is not None:
        pytest.skip(reason)
    with postgres.serving() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Any) -> str:
    """URL of a fresh state database in Postgres: all tables, no run."""
    return str(postgres_server.database())


@pytest.fixture(params=["sqlite", "postgres"])
def state_env(request: pytest.FixtureRequest) -> dict[str, str]:
    """Environment that says where the state is kept: a test that takes it runs on both databases."""
    return {} if request.param == "sqlite" else {"TV_STATE_URL": request.getfixturevalue("postgres_url")}


@pytest.fixture
def booked(tmp_path: Path, state_env: dict[str, str]) -> Any:
    """An empty ledger of the product's own transactions, on both databases."""
    return booked_runs.Book(tmp_path / "data", state_env.get("TV_STATE_URL"))


@pytest.fixture
def booked_file(tmp_path: Path) -> Any:
    """The same in a SQLite file."""
    return booked_runs.Book(tmp_path / "data")
