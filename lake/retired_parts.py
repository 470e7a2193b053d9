"""Deleting parts that count no more, after a grace period in which readers may still hold them."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from quantctl.contracts.canonical import canonical, parse_strict
from quantctl.contracts.errors import QuantError
from quantctl.lake.files import write_atomic

GRACE_SECONDS = 600.0
LOOK_SECONDS = 60.0  # how often the directory is looked through: many projections share one look


def sweep(root: Path, counted: Collection[str]) -> None:
    """Delete files that were seen not to count longer than the grace period ago.

    `retired.json` holds when each was first seen; a file that counts again is forgotten. A clock that goes
    backwards delays a deletion.
    """
    register, now = root / "retired.json", time.time()
    seen = _read(register)
    looked = seen.pop("looked", 0.0)
    if 0 <= now - looked < LOOK_SECONDS:
        return
    retired = {}
    for path in sorted(root.glob("*.parquet")):
        if path.name in counted:
            continue
        since = min(seen.get(path.name, now), now)
        if now - since > GRACE_SECONDS:
            path.unlink(missing_ok=True)
        else:
            retired[path.name] = since
    write_atomic(register, canonical({"looked": now, **retired}))


def _read(register: Path) -> dict[str, float]:
    try:
        found = parse_strict(register.read_bytes())
    except (FileNotFoundError, QuantError):
        return {}
    return {str(name): float(since) for name, since in found.items()}
