"""`python -m quantctl`."""

from __future__ import annotations

from quantctl.cli import run

run()
