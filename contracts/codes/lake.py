"""Codes of lakehouse, imports, DataOps, health and metadata."""

from __future__ import annotations

from quantctl.contracts.codes.row import Code

CODES: dict[str, Code] = {
    # lakehouse
    "LAKE_MISSING": Code(3, "There is no lakehouse, or it has no published snapshot."),
    "LAKE_CONTENTION": Code(3, "A writer kept losing the race for the next commit."),
    "LAKE_TABLE_UNKNOWN": Code(2, "The lakehouse has no such table."),
    "LAKE_SCHEMA": Code(3, "Rows do not have the columns and types of their table."),
    "LAKE_KEY_NULL": Code(3, "A key column of rows to be committed is null."),
    "LAKE_KEY_DUPLICATE": Code(3, "Two rows of one commit have the same key."),
    "LAKE_NONFINITE": Code(3, "A number to be committed is NaN or infinite."),
    "LAKE_SQL": Code(2, "A query over a snapshot cannot be answered."),
    "SNAPSHOT_UNKNOWN": Code(3, "The lakehouse has no such snapshot."),
    "SNAPSHOT_CORRUPT": Code(3, "A part or manifest of a snapshot is missing or altered."),
    "FOUNDATION_MISSING": Code(3, "The snapshot holds nothing of what was asked for."),
}
