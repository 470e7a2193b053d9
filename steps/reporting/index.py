"""`INDEX.md`: rendered from manifest, verdict files and ledger, never from directory names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.canonical import parse_strict, sha256_hex
from quantctl.contracts.errors import ContractError
from quantctl.contracts.stage import Finding
from quantctl.steps.reporting.markdown import table

Verdicts = Mapping[str, Mapping[str, Any]]
_LISTED = re.compile(r"^\| `([^`]+)` *\| (?:`([0-9a-f]{12})`)? *\| *\d* \| *\d* \|$", re.MULTILINE)


def render_index(
    manifest: Mapping[str, Any],
    verdicts: Verdicts,
    artifacts: Sequence[Mapping[str, Any]],
    files: Mapping[str, bytes | None],
    judged_by: Mapping[str, str] | None = None,
) -> str:
    """The index of a run.

    verdicts : path of a verdict file to its parsed content, in the order in which the gates judged
    artifacts : references `{name, path, sha256, rows, bytes}` that the ledger last holds
    files : bytes of the run directory by path
    judged_by : path of a verdict that a fork keeps to the run that judged; the others are of this run

    Raises `INDEX_MISMATCH` (exit 1) if a verdict names another profile or run, or a hash differs.
    """
    _agree(manifest, verdicts, artifacts, files, judged_by or {})
    batch = files.get(ARTIFACTS["batch"].path)
    body = parse_strict(batch) if batch is not None else None
    rows = [_artifact(row) for row in sorted(artifacts, key=lambda row: str(row["path"]))]
    return "\n".join([
        _title(manifest), "", _verdict(verdicts, body), "",
        f"- snapshot `{manifest['snapshot'].get('id')}`", f"- trace `{manifest['trace_id']}`",
        f"- replay `{shlex.join(manifest['replay'])}`", *_source(manifest), "",
        *(_gates(verdicts) if body is None else _children(body)), "",
        *table(["artifact", "sha256", "rows", "bytes"], rows, "llrr"), "",
    ])  # fmt: skip


def index_mismatches(
    text: str, manifest: Mapping[str, Any], artifacts: Sequence[Mapping[str, Any]]
) -> list[Finding]:
    """ERROR `INDEX_MISMATCH` where a written index differs from manifest or ledger.

    It is held to profile and run id of the manifest, and to path and hash of every artifact.
    """
    problems = []
    title = text.partition("\n")[0]
    if title != _title(manifest):
        problems.append(f"the title is {title!r}, the manifest says {_title(manifest)!r}")
    listed = {match[1]: match[2] or "" for match in _LISTED.finditer(text)}
    held = {
        str(row["path"]): "" if ARTIFACTS[row["name"]].timed else str(row["sha256"])[:12] for row in artifacts
    }
    for path in sorted(listed.keys() | held.keys()):
        if listed.get(path) != held.get(path):
            problems.append(f"{path}: the index says {listed.get(path)!r}, the ledger {held.get(path)!r}")
    return [Finding(level="ERROR", code="INDEX_MISMATCH", message=problem) for problem in problems]


def _title(manifest: Mapping[str, Any]) -> str:
    return f"# {manifest['profile']}: {manifest['run_id']}"


def _source(manifest: Mapping[str, Any]) -> list[str]:
    """Of a fork, the run whose first stages it keeps."""
    forked = manifest.get("forked_from")
    if forked is None:
        return []
    kept = ", ".join(f"`{stage}`" for stage in sorted(forked["origins"])) or "none"
    return [f"- forked from `{forked['run_id']}` at `{forked['from_stage']}`; kept as booked there: {kept}"]


def _verdict(verdicts: Verdicts, batch: Mapping[str, Any] | None) -> str:
    """The status of atomic validation; a run that ended before it has no verdict of its own.

    batch : what `data/batch.json` holds, by which a batch is judged instead
    """
    if batch is not None:
        total, passed = len(batch["children"]), batch["succeeded"]
        status = "PASS" if passed == total else "FAIL"
        return f"Verdict: **{status}** ({passed} of {total} children succeeded)"
    verdict = next((v for v in verdicts.values() if v["gate"] == "atomic_validation"), None)
    if verdict is None:
        return "Verdict: **NONE** (the run ended before atomic validation)"
    warnings = sum(int(each["warnings"]) for each in verdicts.values())
    counts = f"{verdict['errors']} errors in atomic validation, {warnings} warnings in all gates"
    return f"Verdict: **{verdict['status']}** ({counts})"


def _agree(
    manifest: Mapping[str, Any],
    verdicts: Verdicts,
    artifacts: Sequence[Mapping[str, Any]],
    files: Mapping[str, bytes | None],
    judged_by: Mapping[str, str],
) -> None:
    for path, verdict in verdicts.items():
        expected = {"profile": manifest["profile"], "run_id": judged_by.get(path, manifest["run_id"])}
        for key, value in expected.items():
            if verdict.get(key) != value:
                raise _mismatch(path, f"{key} is {verdict.get(key)!r}, the manifest says {value!r}")
    for row in artifacts:
        data = files.get(str(row["path"]))
        if not ARTIFACTS[row["name"]].timed and (data is None or sha256_hex(data) != row["sha256"]):
            raise _mismatch(str(row["path"]), "the file is not the one that the ledger names")


def _gates(verdicts: Verdicts) -> list[str]:
    rows = [_gate(path, verdict) for path, verdict in verdicts.items()]
    return table(["gate", "result", "code", "artifact"], rows, "llll")


def _children(batch: Mapping[str, Any]) -> list[str]:
    """Of a batch, how every child ended; the gates are theirs."""
    rows = [
        [f"`{each['run_id']}`", each["as_of"], each["state"], each["code"] or "",
         f"`{each['weights_sha256'][:12]}`" if each["weights_sha256"] else ""]
        for each in batch["children"]
    ]  # fmt: skip
    return table(["child", "as of", "state", "code", "weights"], rows, "lllll")


def _gate(path: str, verdict: Mapping[str, Any]) -> list[str]:
    code = next((f["code"] for f in verdict["findings"] if f["level"] == "ERROR"), "")
    return [str(verdict["gate"]), str(verdict["status"]), code, f"`{path}`"]


def _artifact(row: Mapping[str, Any]) -> list[str]:
    rows, path = "" if row["rows"] is None else str(row["rows"]), f"`{row['path']}`"
    if ARTIFACTS[row["name"]].timed:
        return [path, "", rows, ""]
    return [path, f"`{row['sha256'][:12]}`", rows, str(row["bytes"])]


def _mismatch(path: str, message: str) -> ContractError:
    return ContractError("INDEX_MISMATCH", message, where=path, remedy="quantctl audit atomic RUN_ID")
