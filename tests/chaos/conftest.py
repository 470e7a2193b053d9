"""The market, the zygote and the courses that the killing tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from harness.lives import Nursery
from harness.market import Market
from harness.scenarios import SCENARIOS, Course


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """A zygote, and the lives that are forked from it."""
    with Nursery() as found:
        yield found


@pytest.fixture(scope="session")
def small_market(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Market:
    """A small simulated market; runs are made in copies of it."""
    market = Market(tmp_path_factory.mktemp("chaos"), nursery)
    market.make()
    return market


@pytest.fixture(scope="session")
def courses(small_market: Market) -> dict[str, Course]:
    """The scenarios by name; references are made when they are first needed."""
    return {name: Course(scenario, small_market) for name, scenario in SCENARIOS.items()}


@pytest.fixture(params=["sqlite", "postgres"])
def kept_in(request: pytest.FixtureRequest, small_market: Market) -> str:
    """Where the state is kept: a test that takes it runs on both databases."""
    if request.param == "postgres":
        server: Any = request.getfixturevalue("postgres_server")
        small_market.server = server
    return str(request.param)
