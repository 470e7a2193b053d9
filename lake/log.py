"""The commit log: numbered entries, each created by an exclusive hard link.

The link is the moment of a commit. An entry says which manifest it makes current, the transaction that
asked for it, and whether it is published; its `parent` is the hash of the entry before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from quantctl.contracts.canonical import canonical, parse_strict, sha256_hex
from quantctl.contracts.errors import DataUnhealthy
from quantctl.lake.fault_points import reach
from quantctl.lake.files import disk_faults, fsync_dir, make_dirs, temporary_name, write_synced


class Entry(BaseModel):
    """One commit. `published_version` is the newest published version at or before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    parent: str | None
    snapshot: str
    manifest: str
    txn: str
    at: datetime
    published: bool
    published_version: int | None
    tables: tuple[str, ...]

    def encoded(self) -> bytes:
        """Its bytes in the log."""
        return canonical(self.model_dump(mode="json"))

    def digest(self) -> str:
        """What the next entry names as its parent."""
        return sha256_hex(self.encoded())


class Log:
    """The entries below `root/log`."""

    def __init__(self, root: Path) -> None:
        self.path = root / "log"
        self._seen = 0

    def entry(self, version: int) -> Entry | None:
        """The entry of `version`, or None; raises `SNAPSHOT_CORRUPT` if it cannot be read."""
        return self._read(self._name(version))

    def head(self) -> Entry | None:
        """The newest entry. Versions have no holes, so its number is found by bisection."""
        low, step = self._seen, 1
        while self._name(low + step).exists():
            low, step = low + step, step * 2
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._name(middle).exists() else (low, middle)
        self._seen = low
        return self.entry(low) if low else None

    def of_txn(self, txn: str, head: Entry | None) -> Entry | None:
        """The entry that `txn` made. Only the head can lack its transaction link."""
        if head is not None and head.txn == txn:
            return head
        return self._read(self._txn_name(txn))

    def append(self, entry: Entry, head: Entry | None) -> bool:
        """Try to make `entry` the one after `head`; durable when True, False if another writer won."""
        make_dirs(self.path)
        if head is not None:
            self._link(self._name(head.version), self._txn_name(head.txn))
        temporary = temporary_name(self._name(entry.version))
        write_synced(temporary, entry.encoded())
        reach("lake.linking")
        try:
            won = self._link(temporary, self._name(entry.version))
        finally:
            temporary.unlink()
        if won:
            reach("lake.linked")
            self._link(self._name(entry.version), self._txn_name(entry.txn))
            reach("lake.named")
            fsync_dir(self.path)
            self._seen = entry.version
        return won

    def sync(self) -> None:
        """Make sure that what was read is durable, for its writer may have died just before that."""
        fsync_dir(self.path)

    def entries(self) -> Iterator[Entry]:
        """All entries, oldest first."""
        version = 1
        while (entry := self.entry(version)) is not None:
            yield entry
            version += 1

    def _name(self, version: int) -> Path:
        return self.path / f"{version:012d}"

    def _txn_name(self, txn: str) -> Path:
        return self.path / f".txn-{hashlib.sha256(txn.encode()).hexdigest()[:40]}"

    @staticmethod
    def _link(source: Path, target: Path) -> bool:
        try:
            with disk_faults(target):
                target.hardlink_to(source)
        except FileExistsError:
            return False
        return True

    @staticmethod
    def _read(path: Path) -> Entry | None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return Entry.model_validate(parse_strict(data))
        except ValidationError:
            raise DataUnhealthy("SNAPSHOT_CORRUPT", "the log entry cannot be read", where=str(path)) from None
