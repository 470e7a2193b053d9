"""What the global options of one command line say, carried in the command's context."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from quantctl.settings import Resolved


@dataclass(frozen=True)
class Invocation:
    """Global options that later code asks for: a settings file and `--set` texts."""

    config: Path | None = None
    overrides: tuple[str, ...] = ()

    def resolve(self, profile: str | None = None, *, require_profile: bool = False) -> Resolved:
        """Settings under these options; warnings go to stderr."""
        from quantctl.settings import resolve

        resolved = resolve(
            profile, overrides=self.overrides, config=self.config, require_profile=require_profile
        )
        for warning in resolved.warnings:
            print(f"warning[{warning.code}] {warning}", file=sys.stderr)
        return resolved


def invocation(ctx: typer.Context) -> Invocation:
    """The invocation of a command's context."""
    found = ctx.find_object(Invocation)
    return found if found is not None else Invocation()
