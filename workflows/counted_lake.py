"""The lake as DataOps stages get it: what it commits is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantctl.lake.snapshot import Lake, Snapshot
from quantctl.workflows import telemetry


class CountedLake(Lake):
    """Adds the rows of each commit to `quant_rows_written_total`; a replay writes none and counts none."""

    def commit(self, tables: Mapping[str, Any], *, txn: str, **how: Any) -> Snapshot:
        """As `Lake.commit`."""
        replayed = self.log.of_txn(txn, self.log.head()) is not None
        snapshot = super().commit(tables, txn=txn, **how)
        for name, frame in tables.items() if not replayed else ():
            telemetry.record_rows(name, frame.height)
        return snapshot
