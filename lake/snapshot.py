"""`Lake`: commit, publish, and open snapshots of one lakehouse directory."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from quantctl.contracts.canonical import sha256_hex
from quantctl.contracts.errors import DataMissing, DataUnhealthy
from quantctl.lake.files import fsync_dir, make_dirs, rename_synced
from quantctl.lake.log import Entry, Log
from quantctl.lake.manifest import load_manifest, manifest_path, snapshot_id
from quantctl.lake.pinned import Snapshot
from quantctl.lake.verify import Report, check, raise_if_broken

if TYPE_CHECKING:
    import polars as pl

    from quantctl.lake.commit import Change

__all__ = ["Lake", "Snapshot"]


Facts = Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Stamp(NamedTuple):
    """Who commits, when, and whether it becomes `latest`."""

    txn: str
    at: datetime
    published: bool


class Lake:
    """A lakehouse directory. Any number of readers and several writers may use it at once.

    Parameters
    ----------
    root : directory, made by the first commit
    writer_wait_s : longest time a commit keeps losing the race before `LAKE_CONTENTION`, in seconds
    """

    def __init__(self, root: Path | str, *, writer_wait_s: float = 60.0) -> None:
        self.root = Path(root).absolute()
        self.log = Log(self.root)
        self.writer_wait_s = writer_wait_s

    def commit(
        self,
        tables: Mapping[str, pl.DataFrame],
        *,
        txn: str,
        at: datetime,
        published: bool = False,
        facts: Facts | None = None,
    ) -> Snapshot:
        """Add rows to tables, all or nothing, exactly once per `txn`; durable on return.

        Parameters
        ----------
        tables : table name to rows; empty frames add nothing
        txn : key of the durable step that writes; a replay returns the snapshot it made the first time
        at : when the commit is made (UTC), kept in the log entry only
        published : make it `latest`
        facts : manifest facts that replace those of the same name; `as_of` (date) and `knowledge_time`
            (UTC instant) set the fields of that name, `scanner_hashes` are merged. A function is given the
            facts of the version that is followed, anew after every lost race, so no writer's are lost

        Raises `LAKE_SCHEMA`, `LAKE_KEY_NULL`, `LAKE_KEY_DUPLICATE`, `LAKE_NONFINITE`,
        `LAKE_TABLE_UNKNOWN`, `LAKE_CONTENTION`, `DiskFault`.
        """
        done = self.log.of_txn(txn, self.log.head())
        if done is not None:
            return self._replayed(done)
        from quantctl.lake.commit import write_parts

        change = write_parts(self.root, tables)
        stamp = Stamp(txn, at, published)
        for _ in self._tries():
            head = self.log.head()
            done = self.log.of_txn(txn, head)
            if done is not None:
                return self._replayed(done)
            snapshot = self._offer(change, head, stamp, facts or {})
            if snapshot is not None:
                return snapshot
        raise DataUnhealthy(
            "LAKE_CONTENTION",
            f"other writers won every commit for {self.writer_wait_s:g} s",
            where=str(self.root),
            remedy="try again, or raise data.writer_wait_s",
        )

    def publish(self, *, txn: str, at: datetime, facts: Facts | None = None) -> Snapshot:
        """Make the newest commit `latest`, with new facts and fresh logical hashes of its tables."""
        return self.commit({}, txn=txn, at=at, published=True, facts=facts)

    def snapshot(self, which: str = "latest", *, committed: bool = False) -> Snapshot:
        """Open `latest` (the newest published version), or the snapshot with an id or manifest hash.

        committed : let `latest` mean the newest version even if it is not published; for DataOps only

        Raises `LAKE_MISSING` (nothing published), `SNAPSHOT_UNKNOWN`, `SNAPSHOT_CORRUPT`.
        """
        if which == "latest":
            return self._at(self._newest(committed=committed))
        short = which.rpartition("-")[2]
        hexadecimal = re.fullmatch(r"[0-9a-f]{12,64}", short) is not None
        found = sorted((self.root / "manifests").glob(f"{short}*.json")) if hexadecimal else []
        for path in found:
            snapshot = Snapshot(self.root, load_manifest(self.root, path.stem), path.stem)
            if which in (snapshot.id, snapshot.manifest_sha256):
                return snapshot
        raise DataMissing(
            "SNAPSHOT_UNKNOWN",
            f"there is no snapshot {which}",
            where=str(self.root),
            remedy="quantctl lake snapshots",
        )

    def history(self) -> list[Entry]:
        """All commits, oldest first; raises `SNAPSHOT_CORRUPT`."""
        return list(self.log.entries())

    def snapshots(self) -> list[Entry]:
        """The published commits, oldest first; raises `SNAPSHOT_CORRUPT`."""
        return [entry for entry in self.log.entries() if entry.published]

    def verify(self, which: str = "latest", *, every: bool = False) -> Report:
        """Hash the files of one snapshot (`every`: of all commits) and check the log.

        Raises `SNAPSHOT_CORRUPT` with all problems in its details.
        """
        shas = [e.manifest for e in self.log.entries()] if every else [self.snapshot(which).manifest_sha256]
        report = check(self.root, shas)
        raise_if_broken(self.root, report)
        return report

    def _newest(self, *, committed: bool) -> Entry:
        head = self.log.head()
        if head is not None and not committed and not head.published:
            version = head.published_version
            head = None if version is None else self.log.entry(version)
        if head is None:
            raise DataMissing(
                "LAKE_MISSING",
                "no snapshot is published",
                where=str(self.root),
                remedy="quantctl data import, then quantctl data publish",
            )
        return head

    def _at(self, entry: Entry) -> Snapshot:
        return Snapshot(self.root, load_manifest(self.root, entry.manifest), entry.manifest)

    def _replayed(self, entry: Entry) -> Snapshot:
        self.log.sync()
        return self._at(entry)

    def _tries(self) -> Iterator[int]:
        deadline = time.monotonic() + self.writer_wait_s
        for attempt in count():
            yield attempt
            if time.monotonic() > deadline:
                return
            time.sleep(random.uniform(0, min(0.05, 0.001 * 2**attempt)))  # noqa: S311

    def _offer(self, change: Change, head: Entry | None, stamp: Stamp, facts: Facts) -> Snapshot | None:
        """Try to commit `change` on top of `head`; None if another writer came first."""
        from quantctl.lake.commit import next_manifest

        before = None if head is None else load_manifest(self.root, head.manifest)
        own = facts if isinstance(facts, Mapping) else facts(before.facts if before else {})
        manifest, segments = next_manifest(self.root, before, change, own, published=stamp.published)
        data = manifest.encoded()
        sha = sha256_hex(data)
        self._store([*segments, data])
        version = 1 if head is None else head.version + 1
        entry = Entry(
            version=version,
            parent=None if head is None else head.digest(),
            snapshot=snapshot_id(manifest, sha),
            manifest=sha,
            txn=stamp.txn,
            at=stamp.at,
            published=stamp.published,
            published_version=version if stamp.published else head.published_version if head else None,
            tables=tuple(name for name, parts in sorted(change.parts.items()) if parts),
        )
        return Snapshot(self.root, manifest, sha) if self.log.append(entry, head) else None

    def _store(self, documents: list[bytes]) -> None:
        folder = self.root / "manifests"
        make_dirs(folder)
        paths = [(data, manifest_path(self.root, sha256_hex(data))) for data in documents]
        rename_synced((data, path) for data, path in paths if not path.exists())
        fsync_dir(folder)
