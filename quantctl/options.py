"""Options that several commands share, declared once."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Most rows.")]
Since = Annotated[str | None, typer.Option("--since", help="Only from this UTC date or time on.")]
Profile = Annotated[str | None, typer.Option("--profile", help="Profile (else TV_PROFILE).")]
RunId = Annotated[
    str | None, typer.Option("--run-id", help="Run id (else TV_RUN_ID, else profile and time).")
]
Snapshot = Annotated[str, typer.Option("--snapshot", help="Snapshot id.")]
AsOf = Annotated[str | None, typer.Option("--as-of", help="Decision date, YYYY-MM-DD (else the snapshot's).")]
