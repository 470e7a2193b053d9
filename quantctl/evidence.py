"""Reading a run as a reviewer does: its ledger verified, its files found, its decisions explained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quantctl.contracts.artifacts import ARTIFACTS, path_of
from quantctl.contracts.canonical import parse_strict
from quantctl.contracts.errors import ConfigError, DataMissing, QuantError
from quantctl.contracts.ledger_chain import verify_chain
from quantctl.contracts.nearest import did_you_mean
from quantctl.contracts.stage import Finding
from quantctl.lake import ledger, state
from quantctl.lake.files import sha256_file
from quantctl.lake.rundir import require_run
from quantctl.steps.reporting.history import noted_damage
from quantctl.workflows import runs
from quantctl.workflows.runtime import Places


def verify_ledger(places: Places, run_id: str, *, head: str | None = None) -> dict[str, Any]:
    """Recompute chain, hashes and artifact bytes of a run.

    Returns `{run_id, ok, anchored, records, head, findings[{code, message, details}]}`. The file
    `audit.jsonl` is what is verified; the state database anchors its head.
    """
    root = require_run(places.artifacts_dir, run_id)
    records, findings = _read_file(root / "audit.jsonl")
    anchor = _anchor(places, run_id)
    terminal = anchor is not None and anchor["state"] in runs.TERMINAL
    if not findings:
        findings = verify_chain(records, anchor, terminal=terminal)
        findings += _artifacts(root, [record for record in records if _complete(record)])
        findings += _given_head(records, head) + _head_file(root, records)
    return {
        "run_id": run_id,
        "ok": not any(finding.level == "ERROR" for finding in findings),
        "anchored": anchor is not None or head is not None,
        "records": len(records),
        "head": records[-1].get("hash") if records else None,
        "findings": [finding.model_dump() for finding in findings],
    }


def _read_file(path: Path) -> tuple[list[dict[str, Any]], list[Finding]]:
    records: list[dict[str, Any]] = []
    if not path.exists():
        return [], [_error("LEDGER_PARSE", "audit.jsonl is missing")]
    for number, line in enumerate(path.read_bytes().splitlines()):
        try:
            record = parse_strict(line)
        except QuantError as problem:
            return records, [_error("LEDGER_PARSE", f"line {number}: {problem.message}", line=number)]
        if not isinstance(record, dict):
            return records, [_error("LEDGER_PARSE", f"line {number} is no object", line=number)]
        records.append(record)
    return records, []


def _anchor(places: Places, run_id: str) -> dict[str, Any] | None:
    with state.reader(places.state_url) as connection:
        if connection is None:
            return None
        row = connection.execute(
            "SELECT head_seq AS seq, head_hash AS hash, state FROM runs WHERE run_id = ?", (run_id,)
        ).fetchone()
    return dict(row) if row else None


def _given_head(records: Sequence[Mapping[str, Any]], head: str | None) -> list[Finding]:
    if head is None or (records and records[-1].get("hash") == head):
        return []
    return [_error("LEDGER_TRUNCATED", f"the head you gave ({head[:12]}) is not that of the file")]


def _head_file(root: Path, records: Sequence[Mapping[str, Any]]) -> list[Finding]:
    try:
        head = parse_strict((root / "audit_head.json").read_bytes())
    except (FileNotFoundError, QuantError):
        return [_error("LEDGER_HEAD_MISSING", "audit_head.json is missing or unreadable")]
    if not isinstance(head, dict):
        return [_error("LEDGER_HEAD_MISSING", "audit_head.json is no object")]
    last = records[-1] if records else {}
    if not records or (head.get("seq"), head.get("hash")) != (last.get("seq"), last.get("hash")):
        return [_error("LEDGER_TRUNCATED", "audit_head.json names another head than the file has")]
    return []


def _complete(record: Mapping[str, Any]) -> bool:
    """Whether a line that the chain may have refused still says which files it stands for."""
    outputs = record.get("outputs")
    return {"type", "attempt"} <= set(record) and isinstance(outputs, list) and all(
        isinstance(o, dict) and isinstance(o.get("path"), str) and isinstance(o.get("sha256"), str)
        for o in outputs
    )  # fmt: skip


def _artifacts(root: Path, records: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Each path against the last record that names it; superseded ones in `attempts/<n>/`."""
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
    noted = noted_damage(records)
    return [finding for version in versions for finding in version.findings(noted)]


class _Version(NamedTuple):
    """A recorded version of a file, where it lies, and its name once a retry sets it aside."""

    name: str
    place: Path
    sha256: str
    aside: str

    def findings(self, noted: Mapping[tuple[str, str], str | None]) -> list[Finding]:
        """What is wrong with the file; a change that the retry noted in the ledger is a warning."""
        now = sha256_file(self.place) if self.place.is_file() else None
        if now == self.sha256:
            return []
        if (self.aside, self.sha256) in noted and now == noted[self.aside, self.sha256]:
            message = f"{self.aside} had changed before a retry set it aside; the ledger notes its hash"
            details = {"path": self.aside}
            return [Finding(level="WARN", code="SUPERSEDED_CORRUPT", message=message, details=details)]
        what = "missing" if now is None else "changed"
        return [_error("LEDGER_ARTIFACT", f"{self.name} is {what}", path=self.name)]


def _place(root: Path, path: str, attempt: int) -> Path:
    """Where the newest version of a path lies: aside, if its stage was retried and did not write it again."""
    aside = root / "attempts" / str(attempt) / path
    return aside if aside.exists() and not (root / path).exists() else root / path


def find_artifact(places: Places, run_id: str, name: str) -> tuple[str, Path]:
    """Name and place of an artifact by name or by path below the run directory."""
    root = require_run(places.artifacts_dir, run_id)
    if name in ARTIFACTS:
        found = runs.status(places, run_id)
        place = root / path_of(name, profile=found.profile if found else "", run_id=run_id)
    else:
        place = (root / name).resolve()
        if not place.is_relative_to(root.resolve()):
            raise ConfigError("URI_PATH_FORBIDDEN", f"{name!r} leaves the run directory", where=run_id)
    if place.is_file():
        return name, place
    remedy = f"quantctl show {run_id}"
    if name not in ARTIFACTS and place.parent == root.resolve():
        hint = did_you_mean(name, ARTIFACTS)
        raise ConfigError("ARTIFACT_UNKNOWN", f"no artifact {name!r}{hint}", where=run_id, remedy=remedy)
    raise DataMissing(
        "ISOLATION_INPUT_MISSING", f"run {run_id} has no {name!r}", where=str(place), remedy=remedy
    )


def log_lines(places: Places, run_id: str) -> list[dict[str, Any]]:
    """Every whole line of `logs/run.jsonl`; one that is being written, or was torn by a kill, is left out."""
    runs.require_status(places, run_id)
    path = places.run_root(run_id) / "logs" / "run.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [line for line in map(_parsed, lines) if line is not None]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def records(places: Places, run_id: str) -> list[dict[str, Any]]:
    """The records of a run in sequence, from the state database."""
    with state.reader(places.state_url) as connection:
        return list(ledger.records(connection, run_id)) if connection is not None else []


def _error(code: str, message: str, **details: Any) -> Finding:
    return Finding(level="ERROR", code=code, message=message, details=details)
