"""Removing what a kill left behind, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

from quantctl.lake.files import temporaries
from quantctl.workflows.runtime import Places

HOUR = 3600.0
ORPHAN_HOURS = 1.0  # no write lasts as long: an older temporary has lost its writer


def orphans(data_dir: Path, older_than_hours: float = ORPHAN_HOURS) -> list[Path]:
    """Temporary files that no live writer can still own, sorted; none where there is no directory."""
    limit = time.time() - older_than_hours * HOUR
    return [path for path in temporaries(data_dir) if path.lstat().st_mtime < limit]


def collect_garbage(
    places: Places, *, older_than_hours: float = ORPHAN_HOURS, dry_run: bool = False
) -> list[str]:
    """Remove the orphans, and return them as paths below the data directory.

    A file under a name of the artifact table is never touched: it is referenced, or will be left alone
    as equal when its stage is executed again.
    """
    stale = orphans(places.data_dir, older_than_hours)
    if not dry_run:
        for path in stale:
            path.unlink(missing_ok=True)
    return [str(path.relative_to(places.data_dir)) for path in stale]
