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
from quantctl.contracts.errors import ContractError
from quantctl.contracts.records.run import RunRequest
from quantctl.contracts.settings import Settings
from quantctl.workflows.runtime import Places


def writer(places: Places) -> Any:
    """The lake's writer, for DataOps stages only."""
    from quantctl.workflows.counted_lake import CountedLake

    return CountedLake(places.lakehouse_dir)


class Pinned:
    """The snapshot of a run with the run's bounds; what two slices share is read once."""

    def __init__(self, request: RunRequest, places: Places) -> None:
        self.as_of = date.fromisoformat(request.as_of)
        self.settings = Settings.model_validate(request.settings)
        self.places = places
        self.snapshot = writer(places).snapshot(request.snapshot["id"]).hashed()

    def read(self, name: str) -> Any:
        """The slice called `name`."""
        return _READERS[name](self)

    @functools.cached_property
    def bars(self) -> Any:
        """Bars of the universe up to the as-of date."""
        at = self.snapshot.decision_time(self.as_of)
        return self.snapshot.bars(self.universe, None, self.as_of, known_at=at)

    @functools.cached_property
    def symbols(self) -> Any:
        """The symbol dimension at the as-of date."""
        return self.snapshot.symbols(self.as_of)

    @functools.cached_property
    def sessions(self) -> Any:
        """Calendar sessions up to the as-of date."""
        return self.snapshot.sessions(end=self.as_of)

    @functools.cached_property
    def metadata(self) -> Any:
        """Instrument rules at the as-of date."""
        return self.snapshot.metadata(self.as_of)

    @functools.cached_property
    def candidates(self) -> Any:
        """Candidate rows of the profile's scanners at the as-of date."""
        return self.snapshot.candidates(self.as_of, self.settings.discovery.scanners)

    @functools.cached_property
    def features_latest(self) -> Any:
        """Newest feature row of every symbol."""
        return self.snapshot.features_latest(self.as_of)

    @functools.cached_property
    def universe(self) -> list[str]:
        """Symbols whose bars the run reads: pool, reference and benchmarks."""
        from quantctl.steps.l0_foundation.pool import required_symbols

        return required_symbols(self.candidates, self.features_latest, self.symbols, self.settings)


def _health(pinned: Pinned) -> Any:
    from quantctl.lake.knowledge import end_of_day
    from quantctl.steps.l0_foundation.health import judge

    chosen = pinned.symbols.filter(pinned.symbols["symbol"].is_in(pinned.universe))
    return judge(
        pinned.bars,
        pinned.sessions,
        chosen,
        as_of=pinned.as_of,
        at=end_of_day(pinned.as_of),  # an age counts to the decision, not to what was learnt later
        settings=pinned.settings.data,
        metadata=pinned.metadata,
        events=pinned.snapshot.health_events(pinned.as_of),
    ).verdicts


def _coverage(pinned: Pinned) -> list[dict[str, Any]]:
    entries = []
    for entry in pinned.snapshot.facts().get("coverage", []):
        path = pinned.places.artifacts_dir / entry["path"]
        data = path.read_bytes() if path.is_file() else None
        entries.append(
            entry | {
                "sha256_on_disk": sha256_hex(data) if data is not None else None,
                "schema_error": _schema_error(data) if data is not None else None,
            }
        )  # fmt: skip
    return entries


def _schema_error(data: bytes) -> str | None:
    """What a coverage file breaks of its contract, or null."""
    from quantctl.lake.encoding import decode

    try:
        decode("price_ingest_coverage", data)  # every coverage artifact has the one contract
    except ContractError as problem:
        return problem.message
    return None


_READERS: dict[str, Callable[[Pinned], Any]] = {
    "lake_record": lambda pinned: pinned.snapshot.record(),
    "lake_manifest": lambda pinned: pinned.snapshot.facts(),
    "lake_coverage": _coverage,
    "lake_candidates": lambda pinned: pinned.candidates,
    "lake_funnel": lambda pinned: pinned.snapshot.funnel(pinned.as_of, pinned.settings.discovery.scanners),
    "lake_symbols": lambda pinned: pinned.symbols,
    "lake_metadata": lambda pinned: pinned.metadata,
    "lake_health": _health,
    "lake_sessions": lambda pinned: pinned.sessions,
    "lake_features_latest": lambda pinned: pinned.features_latest,
    "lake_bars": lambda pinned: pinned.bars,
    "lake_features": lambda pinned: pinned.snapshot.features(pinned.as_of, pinned.universe),
}
