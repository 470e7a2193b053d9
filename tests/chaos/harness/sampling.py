"""Which cases of a long list every build takes; the others are the exhaustive suite's, `make test-kill`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[Any], kept: Collection[Any]) -> list[Any]:
    """The cases with those that are not in `kept` marked `exhaustive`; every kept one must be a case."""
    listed = list(cases)
    assert not [case for case in kept if case not in listed]
    return [
        case if case in kept else pytest.param(*_values(case), marks=pytest.mark.exhaustive)
        for case in listed
    ]


def _values(case: Any) -> tuple[Any, ...]:
    return case if isinstance(case, tuple) else (case,)
