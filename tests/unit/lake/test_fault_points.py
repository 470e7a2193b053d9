"""Fault points are inert until a test arms them, and every name in the code is in the table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantctl.lake import fault_points
from quantctl.lake.fault_points import POINTS, reach

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    fault_points.disarm()


def named() -> set[str]:
    """Every name that the product reaches."""
    files = [
        path
        for folder in ("lake", "workflows", "steps", "quantctl")
        for path in (ROOT / folder).rglob("*.py")
    ]
    return {name for path in files for name in re.findall(r'\breach\("([^"]+)"\)', path.read_text())}


def test_the_code_reaches_the_points_of_the_table_and_no_other() -> None:
    assert named() == set(POINTS)


def test_a_point_is_inert_until_a_test_arms_it() -> None:
    reach("write.begin")
    seen: list[str] = []
    fault_points.arm(seen.append)
    reach("write.begin")
    fault_points.disarm()
    reach("write.synced")
    assert seen == ["write.begin"]


def test_an_unknown_name_fails_loudly_once_points_are_armed() -> None:
    fault_points.arm(lambda _: None)
    with pytest.raises(KeyError, match=r"no fault point .write\.bgin."):
        reach("write.bgin")


def test_no_variable_of_the_environment_arms_a_point() -> None:
    assert "os.environ" not in Path(fault_points.__file__).read_text()
