"""What every test stands on: no network but loopback, and none of the user's TV_ variables."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay in one process, and so do all that look at the demo: it is made once."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("e2e" if item.path.parent.name == "e2e" else item.path.name))
