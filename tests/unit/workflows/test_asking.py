"""How long a command waits for a wish to be taken up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.records.wish import Wish
from quantctl.workflows import asking


@pytest.mark.parametrize(("url", "waits"), [("sqlite:///state", 10.0), ("postgresql://host/db", 25.0)])
def test_patience_outlasts_the_lease_of_a_dead_worker(
    url: str, waits: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Postgres a worker that was killed passes for a living one until its lease of 15 s is over."""
    clock = [100.0]
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(asking, "submit_wish", lambda *_: None)
    monkeypatch.setattr(asking, "withdraw", lambda *_: None)
    monkeypatch.setattr(asking.Asking, "_look", lambda *_: ("ENQUEUED", "", None))
    places: Any = SimpleNamespace(state_url=url, live_workers=lambda: frozenset({"worker-1"}))
    wish = asking.Asking(places, Wish(verb="cancel", run_id="r1", reason="no"), lease_seconds=15.0)
    assert not wish.answered()
    clock[0] += waits
    assert not wish.answered()
    clock[0] += 0.1
    with pytest.raises(ConfigError) as refused:
        wish.answered()
    assert refused.value.code == "WORKER_BUSY"
