"""Slices of the pinned snapshot, by the argument names under which stages ask for them.

Only here do stages and lake meet: a slice is bounded by the run's as-of date and universe, so a stage
can't see what was not knowable, and a lake of 20,000 symbols costs a run of 200 nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import date
from typing import Any

from quantctl.contracts.canonical import sha256_hex
from quantctl.contracts.records.run import RunRequest
from quantctl.contracts.settings import Settings
from quantctl.workflows.runtime import Places


def read(name: str, request: RunRequest, places: Places) -> Any:
    """The slice `name` of the snapshot pinned by `request`."""
    return _READERS[name](_Pinned(request, places))


def writer(places: Places) -> Any:
    """The lake's writer, for DataOps stages only."""
    from quantctl.lake.snapshot import Lake

    return Lake(places.lakehouse_dir)


class _Pinned:
    """The snapshot of a run with the run's bounds."""

    def __init__(self, request: RunRequest, places: Places) -> None:
        self.as_of = date.fromisoformat(request.as_of)
        self.settings = Settings.model_validate(request.settings)
        self.places = places
        self.snapshot = writer(places).snapshot(request.snapshot["id"])

    @functools.cached_property
    def candidates(self) -> Any:
        return self.snapshot.candidates(self.as_of, self.settings.discovery.scanners)

    @functools.cached_property
    def features_latest(self) -> Any:
        return self.snapshot.features_latest(self.as_of)

    @functools.cached_property
    def universe(self) -> list[str]:
        from quantctl.steps.l0_foundation.pool import required_symbols

        return required_symbols(
            self.candidates, self.features_latest, self.snapshot.symbols(self.as_of), self.settings
        )


def _coverage(pinned: _Pinned) -> list[dict[str, Any]]:
    entries = []
    for entry in pinned.snapshot.facts().get("coverage", []):
        path = pinned.places.artifacts_dir / entry["path"]
        data = path.read_bytes() if path.is_file() else None
        entries.append(entry | {"sha256_on_disk": sha256_hex(data) if data is not None else None})
    return entries


_READERS: dict[str, Callable[[_Pinned], Any]] = {
    "lake_record": lambda pinned: pinned.snapshot.record(),
    "lake_manifest": lambda pinned: pinned.snapshot.facts(),
    "lake_coverage": _coverage,
    "lake_candidates": lambda pinned: pinned.candidates,
    "lake_funnel": lambda pinned: pinned.snapshot.funnel(pinned.as_of, pinned.settings.discovery.scanners),
    "lake_symbols": lambda pinned: pinned.snapshot.symbols(pinned.as_of),
    "lake_metadata": lambda pinned: pinned.snapshot.metadata(pinned.as_of),
    "lake_sessions": lambda pinned: pinned.snapshot.sessions(end=pinned.as_of),
    "lake_features_latest": lambda pinned: pinned.features_latest,
    "lake_bars": lambda pinned: pinned.snapshot.bars(pinned.universe, None, pinned.as_of),
    "lake_features": lambda pinned: pinned.snapshot.features(pinned.as_of, pinned.universe),
}
