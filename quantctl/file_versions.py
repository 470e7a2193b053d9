"""The files of a run held against what its ledger says of them, over all attempts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quantctl.contracts.stage import Finding
from quantctl.lake import artifact_index
from quantctl.lake.files import sha256_file
from quantctl.lake.state import Reader
from quantctl.steps.reporting.history import noted_damage

Records = Sequence[Mapping[str, Any]]


class _Version(NamedTuple):
    """A recorded version of a file, where it lies, and its name once a retry sets it aside."""

    name: str
    place: Path
    sha256: str
    aside: str

    def findings(self, noted: Mapping[tuple[str, str], str | None]) -> Iterator[Finding]:
        """What is wrong with the file; a change that the retry noted in the ledger is a warning."""
        now = sha256_file(self.place) if self.place.is_file() else None
        if now == self.sha256:
            return
        if (self.aside, self.sha256) in noted and now == noted[self.aside, self.sha256]:
            message = f"{self.aside} had changed before a retry set it aside; the ledger notes its hash"
            details = {"path": self.aside}
            yield Finding(level="WARN", code="SUPERSEDED_CORRUPT", message=message, details=details)
            return
        what = "missing" if now is None else "changed"
        yield _error(f"{self.name} is {what}", path=self.name, change=what)


def check_files(connection: Reader | None, root: Path, records: Records) -> list[Finding]:
    """Every path against the last record that names it; superseded versions in `attempts/<n>/`.

    Records that do not say which files they stand for are left out: the chain has refused them.
    """
    whole = [record for record in records if _complete(record)]
    latest, versions = _versions(root, whole)
    noted = noted_damage(whole)
    findings = [finding for version in versions for finding in version.findings(noted)]
    run_id = str(whole[0].get("run_id")) if whole else ""
    for row in artifact_index.rows(connection, run_id):
        if row["path"] in latest and latest[row["path"]] != row["sha256"]:
            message = f"the artifact index has another hash of {row['path']} than the ledger"
            findings.append(_error(message, path=row["path"], change="changed"))
    return findings


def _versions(root: Path, records: Records) -> tuple[dict[str, str], list[_Version]]:
    latest: dict[str, tuple[int, str]] = {}
    versions: list[_Version] = []
    for record in records:
        for output in record["outputs"] if record["type"] == "stage" else ():
            known = latest.get(output["path"])
            if known is not None and known[0] != record["attempt"]:
                aside = f"attempts/{known[0]}/{output['path']}"
                versions.append(_Version(aside, root / aside, known[1], aside))
            latest[output["path"]] = (record["attempt"], output["sha256"])
    for path, (attempt, sha) in latest.items():
        versions.append(_Version(path, _place(root, path, attempt), sha, f"attempts/{attempt}/{path}"))
    return {path: sha for path, (_, sha) in latest.items()}, versions


def _place(root: Path, path: str, attempt: int) -> Path:
    """Where the newest version of a path lies: aside, if its stage was retried and did not write it again."""
    aside = root / "attempts" / str(attempt) / path
    return aside if aside.exists() and not (root / path).exists() else root / path


def _complete(record: Mapping[str, Any]) -> bool:
    outputs = record.get("outputs")
    return {"type", "attempt", "code", "data"} <= set(record) and isinstance(outputs, list) and all(
        isinstance(o, dict) and isinstance(o.get("path"), str) and isinstance(o.get("sha256"), str)
        for o in outputs
    )  # fmt: skip


def _error(message: str, **details: Any) -> Finding:
    return Finding(level="ERROR", code="LEDGER_ARTIFACT", message=message, details=details)
