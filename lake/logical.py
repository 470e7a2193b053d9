"""The logical hash of a table, by its place in the lake; the kernel is `contracts.logical`."""

from __future__ import annotations

from quantctl.contracts.logical import UNHASHED, logical_hash, sorted_hash, type_name

__all__ = ["UNHASHED", "logical_hash", "sorted_hash", "type_name"]
