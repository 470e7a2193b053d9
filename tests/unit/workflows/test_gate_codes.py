"""Every code that the runner itself makes of a gate's name is in the table of codes."""

from __future__ import annotations

import pytest

from quantctl.contracts.codes import CODES
from quantctl.workflows.registry import all_stages, gates_of

GATES = [gate.id for stage in all_stages() for gate in gates_of(stage)]


@pytest.mark.parametrize("suffix", ["PARSE", "NOTHING_CHECKED"])
@pytest.mark.parametrize("gate", GATES)
def test_a_gate_that_cannot_judge_has_a_code_and_an_exit(gate: str, suffix: str) -> None:
    code = f"{gate.replace('.', '_').upper()}_{suffix}"
    assert code in CODES
    assert CODES[code].exit is not None
