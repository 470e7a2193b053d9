"""What every test stands on: no network but loopback, and none of the user's TV_ variables."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")
_connect = socket.socket.connect


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
