"""The merged code table."""

from __future__ import annotations

from quantctl.contracts.codes import (
    allocation,
    dataops,
    house,
    lake,
    operation,
    reporting,
    runs,
    selection,
    synthesis,
)
from quantctl.contracts.codes.row import Code

__all__ = ["CODES", "SUBJECTS", "Code", "exit_of"]

SUBJECTS = (house, runs, operation, lake, dataops, selection, synthesis, allocation, reporting)


def _merged() -> dict[str, Code]:
    table: dict[str, Code] = {}
    for subject in SUBJECTS:
        for name, code in subject.CODES.items():
            if name in table and table[name] != code:
                raise ValueError(f"code {name} is declared twice, with different rows")
            table[name] = code
    return table


CODES: dict[str, Code] = _merged()


def exit_of(code: str) -> int:
    """Exit code of `code`; 70 (internal error) for a code that has none."""
    row = CODES.get(code)
    return 70 if row is None or row.exit is None else row.exit
