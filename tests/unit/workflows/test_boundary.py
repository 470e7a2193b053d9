"""An Alpha stage can neither connect nor write to the lakehouse."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from quantctl.contracts.errors import BoundaryViolation
from quantctl.workflows.boundary import alpha_only


def test_a_connect_inside_a_stage_is_refused(tmp_path: Path) -> None:
    with (
        alpha_only("selection.policy", tmp_path),
        socket.socket() as client,
        pytest.raises(BoundaryViolation, match="tried to connect") as caught,
    ):
        client.connect(("127.0.0.1", 9))
    assert caught.value.code == "NETWORK_FORBIDDEN"
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("mode", ["w", "a", "r+b", "x"])
def test_a_write_to_the_lakehouse_inside_a_stage_is_refused(tmp_path: Path, mode: str) -> None:
    (tmp_path / "part").touch()
    target = tmp_path / ("new" if mode == "x" else "part")
    with alpha_only("selection.policy", tmp_path), pytest.raises(BoundaryViolation) as caught:
        open(target, mode)  # noqa: SIM115
    assert (caught.value.code, caught.value.exit_code) == ("ALPHA_READ_ONLY", 70)


def test_reading_the_lakehouse_and_writing_elsewhere_are_allowed(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / "part").write_text("x")
    with alpha_only("selection.policy", lake):
        assert (lake / "part").read_text() == "x"
        (tmp_path / "elsewhere").write_text("y")


def test_outside_a_stage_nothing_is_guarded(tmp_path: Path) -> None:
    with alpha_only("selection.policy", tmp_path):
        pass
    (tmp_path / "part").write_text("x")
