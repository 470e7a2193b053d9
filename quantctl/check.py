"""What one check of `quantctl doctor` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """The result of one check; `remedy` cures anything but ok."""

    name: str
    status: Status
    detail: str
    remedy: str = ""
