"""Every code a user can meet: exit code and one sentence each, one file per subject.

Errors, findings and gate verdicts name their code; this table is the only place that says what it
means and how a command that stops for it exits. `docs/reference/errors.md` is generated from it.
"""

from __future__ import annotations

from quantctl.contracts.codes.table import CODES, Code, exit_of

__all__ = ["CODES", "Code", "exit_of"]
