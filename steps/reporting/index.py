"""`INDEX.md`: rendered from manifest, verdict files and ledger, never from directory names."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.canonical import sha256_hex
from quantctl.contracts.errors import ContractError

Verdicts = Mapping[str, Mapping[str, Any]]


def render_index(
    manifest: Mapping[str, Any],
    verdicts: Verdicts,
    artifacts: Sequence[Mapping[str, Any]],
    files: Mapping[str, bytes | None],
) -> str:
    """The index of a run.

    verdicts : path of a verdict file to its parsed content, in the order in which the gates judged
    artifacts : references `{name, path, sha256, rows, bytes}` that the ledger last holds
    files : bytes of the run directory by path

    Raises `INDEX_MISMATCH` (exit 1) if a verdict names another profile or run, or a hash differs.
    """
    _agree(manifest, verdicts, artifacts, files)
    statuses = [str(verdict["status"]) for verdict in verdicts.values()]
    failed = not statuses or "FAIL" in statuses
    warnings = sum(int(verdict["warnings"]) for verdict in verdicts.values())
    status = "FAIL" if failed else f"PASS ({warnings} warnings)" if warnings else "PASS"
    return "\n".join([
        f"# {manifest['profile']}: {manifest['run_id']}", "", f"Verdict: **{status}**", "",
        f"- snapshot `{manifest['snapshot'].get('id')}`", f"- trace `{manifest['trace_id']}`",
        f"- replay `{shlex.join(manifest['replay'])}`", "", "| gate | result | code | artifact |",
        "|---|---|---|---|", *(_gate(path, verdict) for path, verdict in verdicts.items()), "",
        "| artifact | sha256 | rows | bytes |", "|---|---|---:|---:|",
        *(_artifact(row) for row in sorted(artifacts, key=lambda row: str(row["path"]))), "",
    ])  # fmt: skip


def _agree(
    manifest: Mapping[str, Any],
    verdicts: Verdicts,
    artifacts: Sequence[Mapping[str, Any]],
    files: Mapping[str, bytes | None],
) -> None:
    for path, verdict in verdicts.items():
        for key in ("profile", "run_id"):
            if verdict.get(key) != manifest[key]:
                raise _mismatch(path, f"{key} is {verdict.get(key)!r}, the manifest says {manifest[key]!r}")
    for row in artifacts:
        data = files.get(str(row["path"]))
        if not ARTIFACTS[row["name"]].timed and (data is None or sha256_hex(data) != row["sha256"]):
            raise _mismatch(str(row["path"]), "the file is not the one that the ledger names")


def _gate(path: str, verdict: Mapping[str, Any]) -> str:
    code = next((f["code"] for f in verdict["findings"] if f["level"] == "ERROR"), "")
    return f"| {verdict['gate']} | {verdict['status']} | {code} | `{path}` |"


def _artifact(row: Mapping[str, Any]) -> str:
    rows = "" if row["rows"] is None else row["rows"]
    if ARTIFACTS[row["name"]].timed:
        return f"| `{row['path']}` | | {rows} | |"
    return f"| `{row['path']}` | `{row['sha256'][:12]}` | {rows} | {row['bytes']} |"


def _mismatch(path: str, message: str) -> ContractError:
    return ContractError("INDEX_MISMATCH", message, where=path, remedy="quantctl audit atomic RUN_ID")
