"""Removing what a kill left behind, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

from quantctl.workflows.runtime import Places

HOUR = 3600.0


def collect_garbage(places: Places, *, older_than_hours: float, dry_run: bool) -> list[str]:
    """Temporary files older than the grace period, as paths below the data directory.

    A file under a name of the artifact table is never touched: it is referenced, or will be left alone
    as equal when its stage is executed again.
    """
    limit = time.time() - older_than_hours * HOUR
    stale = [path for path in _temporaries(places.data_dir) if path.stat().st_mtime < limit]
    if not dry_run:
        for path in stale:
            path.unlink(missing_ok=True)
    return [str(path.relative_to(places.data_dir)) for path in stale]


def _temporaries(data_dir: Path) -> list[Path]:
    return sorted(path for path in data_dir.rglob(".tmp-*") if path.is_file())
