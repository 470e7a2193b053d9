"""`lake verify`: hash every part and manifest, and check that the log has no hole and no edit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from quantctl.contracts.errors import QuantError
from quantctl.lake.files import sha256_file
from quantctl.lake.log import Entry, Log
from quantctl.lake.manifest import TableState, load_manifest, manifest_path, parts_of
from quantctl.lake.parts import corrupt


@dataclass
class Report:
    """What was checked, and what is wrong: `problems` are lines `path: reason`."""

    commits: int = 0
    manifests: int = 0
    parts: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)


def check(root: Path, manifests: Iterable[str], *, log: bool = True) -> Report:
    """Check the log and every file of the named manifests, each file once."""
    report = Report()
    if log:
        _check_log(Log(root), report)
    seen: set[Path] = set()
    for sha256 in dict.fromkeys(manifests):
        _check_manifest(root, sha256, report, seen)
    return report


def raise_if_broken(root: Path, report: Report) -> None:
    """Raise `SNAPSHOT_CORRUPT` naming the first problem and the number of all."""
    if report.problems:
        error = corrupt(root, f"{report.problems[0]} ({len(report.problems)} problems in all)")
        error.details["problems"] = report.problems
        raise error


def _check_log(log: Log, report: Report) -> None:
    before: Entry | None = None
    for number, path in enumerate(_numbered(log.path), start=1):
        name = f"{number:012d}"
        if path.name != name:
            report.problems.append(f"log/{name}: the entry is missing")
            return
        try:
            entry = log.entry(number)
        except QuantError as problem:
            report.problems.append(f"log/{name}: {problem.message}")
            return
        if entry is None or entry.version != number or entry.encoded() != path.read_bytes():
            report.problems.append(f"log/{name}: the entry is altered")
        elif entry.parent != (before.digest() if before else None):
            report.problems.append(f"log/{name}: the entry does not follow the one before it")
        before = entry
        report.commits += 1


def _numbered(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.name.isdigit())


def _check_manifest(root: Path, sha256: str, report: Report, seen: set[Path]) -> None:
    report.manifests += 1
    try:
        manifest = load_manifest(root, sha256)
        for name, state in manifest.tables.items():
            _check_table(root, name, state, report, seen)
    except QuantError as problem:
        report.problems.append(f"{manifest_path(root, sha256).relative_to(root)}: {problem.message}")


def _check_table(root: Path, name: str, state: TableState, report: Report, seen: set[Path]) -> None:
    for part in parts_of(root, state):
        path = part.path(root, name)
        if path in seen:
            continue
        seen.add(path)
        report.parts += 1
        report.bytes += part.bytes
        if not path.is_file():
            report.problems.append(f"{path.relative_to(root)}: the part is missing")
        elif sha256_file(path) != part.sha256:
            report.problems.append(f"{path.relative_to(root)}: the part is altered")
