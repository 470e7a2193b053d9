"""The run directory: where the artifacts of one run live, written atomically, read by their hash."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quantctl.contracts.artifacts import ARTIFACTS, Artifact, path_of
from quantctl.contracts.canonical import sha256_hex
from quantctl.contracts.errors import ContractError, DataMissing, QuantError
from quantctl.contracts.ids import check_run_id
from quantctl.contracts.stage import Loaded
from quantctl.lake.encoding import decode, encode
from quantctl.lake.fault_points import reach
from quantctl.lake.files import (
    abandoned,
    disk_faults,
    fsync_dir,
    make_dirs,
    temporaries,
    temporary_name,
    write_atomic,
)

_MEMO_LIMIT = 256
_GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class RunDirectory:
    """`<artifacts>/summaries/runs/<run_id>/`.

    Values already held to their contract in this process are remembered by content hash, so a
    stage that reads what an earlier one wrote pays for the hash of the file, not for decoding it.
    """

    def __init__(self, artifacts_dir: Path, run_id: str, profile: str) -> None:
        self.run_id = check_run_id(run_id)
        self.profile = profile
        self.root = artifacts_dir / "summaries" / "runs" / run_id
        self._memo: dict[tuple[str, str], Any] = {}

    def path(self, name: str) -> Path:
        """Path of an artifact of the artifact table."""
        return self.root / self.relative(name)

    def relative(self, name: str) -> str:
        """The same below the run directory, as records name it."""
        return path_of(name, profile=self.profile, run_id=self.run_id)

    def write(self, name: str, value: Any) -> Artifact:
        """Encode, check and write an artifact; an equal file that is there already is left alone."""
        data, rows = encode(name, value)
        write_atomic(self.path(name), data)
        sha = sha256_hex(data)
        if ARTIFACTS[name].format == "parquet":
            self._remember(name, sha, getattr(value, "frame", value))
        return Artifact(
            name=name, path=self.relative(name), sha256=sha, rows=rows, bytes=len(data),
            contract=ARTIFACTS[name].contract,
        )  # fmt: skip

    def read(self, name: str, sha256: str) -> Any:
        """The value of an artifact whose file must still have `sha256` (`ARTIFACT_CORRUPT`, exit 3)."""
        path = self.path(name)
        try:
            data = path.read_bytes()
        except _GONE:
            raise self.corrupt(name, "the file is gone") from None
        found = sha256_hex(data)
        if found != sha256:
            raise self.corrupt(name, f"sha256 is {found[:12]}, recorded {sha256[:12]}")
        known = self._memo.get((name, found))
        if known is None:
            known = decode(name, data)
            self._remember(name, found, known)
        return known

    def load(self, name: str, sha256: str | None) -> Loaded[Any]:
        """An artifact as a gate sees it: never raises on a missing or unreadable file."""
        relative = self.relative(name)
        if sha256 is None and not self.path(name).exists():
            return Loaded(name, relative, None, None, "missing", "no such artifact in this run")
        try:
            data = self.path(name).read_bytes()
        except _GONE:
            return Loaded(name, relative, None, sha256, "missing", "the file is gone")
        found = sha256_hex(data)
        if sha256 is not None and found != sha256:
            return Loaded(name, relative, None, found, "unreadable", f"recorded sha256 is {sha256[:12]}")
        try:
            return Loaded(name, relative, self.read(name, found), found)
        except QuantError as problem:
            return Loaded(name, relative, None, found, "unreadable", str(problem))

    def move_to_attempt(self, relative: str, attempt: int) -> None:
        """Move a superseded output to `attempts/<n>/`; repeating it changes nothing.

        Where one lies there already the output is that of a later attempt, and this process slept meanwhile.
        """
        source = self.root / relative
        target = self.root / "attempts" / str(attempt) / relative
        if source.exists():
            with disk_faults(target):
                make_dirs(target.parent)
                reach("attempt.moving")
                if target.exists():
                    return
                source.rename(target)
                reach("attempt.moved")
                fsync_dir(target.parent)
                fsync_dir(source.parent)

    def content(self, relative: str) -> bytes | None:
        """Bytes of a file as it lies there, held to nothing; null where there is none. Raises `DiskFault`."""
        with disk_faults(self.root / relative):
            try:
                return (self.root / relative).read_bytes()
            except _GONE:
                return None

    def evidence(self, artifacts: Iterable[Artifact]) -> dict[str, bytes | None]:
        """What a ledger check reads: the artifacts, manifest, projection and superseded outputs, by path."""
        paths = [artifact.path for artifact in artifacts]
        paths += [self.relative(name) for name in ("resolved_manifest", "audit_ledger")]
        paths += self.aside()
        return {path: self.content(path) for path in sorted(paths)}

    def clear(self) -> None:
        """Remove what dead writers left under temporary names: an interrupted run ends as any other."""
        with disk_faults(self.root):
            for path in temporaries(self.root):
                if abandoned(path):
                    path.unlink(missing_ok=True)

    def files(self) -> dict[str, Path]:
        """Every file below the run directory by relative path, in sorted order."""
        found = (path for path in self.root.rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path for path in sorted(found)}

    def aside(self) -> list[str]:
        """Relative paths of the superseded outputs in `attempts/<n>/`, sorted."""
        return [path for path in self.files() if path.startswith("attempts/")]

    def _remember(self, name: str, sha256: str, value: Any) -> None:
        if len(self._memo) >= _MEMO_LIMIT:
            self._memo.pop(next(iter(self._memo)))
        self._memo[(name, sha256)] = value

    def corrupt(self, name: str, why: str) -> ContractError:
        """The error (`ARTIFACT_CORRUPT`, exit 3) of an artifact that is not what its run recorded."""
        return ContractError(
            "ARTIFACT_CORRUPT",
            f"artifact {name} is not what its run recorded: {why}",
            where=self.relative(name),
            remedy=f"restore the file and quantctl retry {self.run_id}, or start a run under a new id",
        )


def require_run(artifacts_dir: Path, run_id: str) -> Path:
    """Directory of an existing run, by exact id only (`RUN_NOT_FOUND`, exit 3)."""
    root = artifacts_dir / "summaries" / "runs" / check_run_id(run_id)
    if not root.is_dir():
        raise DataMissing(
            "RUN_NOT_FOUND", f"there is no run {run_id!r}", where=str(root), remedy="quantctl list"
        )
    return root


def point_latest(artifacts_dir: Path, run_id: str) -> None:
    """Make `summaries/latest` name this run, in one step."""
    link = artifacts_dir / "summaries" / "latest"
    temporary = temporary_name(link)
    with disk_faults(link):
        try:
            temporary.symlink_to(Path("runs") / run_id)
            reach("latest.linked")
            temporary.replace(link)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        reach("latest.pointed")
    fsync_dir(link.parent)
