"""Every code that the runner itself makes of a gate's name is in the table of codes."""

from __future__ import annotations

from typing import Literal

import pytest

from quantctl.contracts.codes import CODES
from quantctl.contracts.stage import GateSpec
from quantctl.workflows.registry import all_stages, gates_of

GATES = [gate for stage in all_stages() for gate in gates_of(stage)]


@pytest.mark.parametrize("kind", ["PARSE", "NOTHING_CHECKED"])
@pytest.mark.parametrize("gate", GATES, ids=[gate.id for gate in GATES])
def test_a_gate_that_cannot_judge_has_a_code_and_an_exit(
    gate: GateSpec, kind: Literal["PARSE", "NOTHING_CHECKED"]
) -> None:
    code = gate.own_code(kind)
    assert code in CODES
    assert CODES[code].exit is not None
