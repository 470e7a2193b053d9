"""Requests to other hosts are counted by host and status, and nothing else of a URL is kept."""

from __future__ import annotations

from typing import Any

import pytest

from quantctl.workflows import telemetry


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://user:secret@hooks.example.org/T0/token?key=1", "hooks.example.org"),
        ("http://[::1", "unknown"),
        ("not a url", "unknown"),
    ],
)
def test_only_the_host_of_a_url_is_counted(monkeypatch: pytest.MonkeyPatch, url: str, host: str) -> None:
    told: list[Any] = []

    class Counter:
        def add(self, amount: int, attributes: dict[str, str]) -> None:
            told.append((amount, attributes))

    monkeypatch.setattr(telemetry, "http_requests_total", Counter())
    telemetry.record_http(url, 200)
    assert told == [(1, {"host": host, "status": "200"})]
