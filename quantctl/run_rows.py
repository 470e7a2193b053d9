"""What the state database and the run directory say of a run beside its records, held against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.canonical import parse_strict
from quantctl.contracts.errors import QuantError
from quantctl.contracts.records.run import manifest_hash
from quantctl.contracts.stage import Finding
from quantctl.lake import artifact_index, ledger_copies
from quantctl.lake.ledger_copies import Kept
from quantctl.lake.state import Reader

STATE = "the state database"
Records = Sequence[Mapping[str, Any]]


def check_rows(kept: Kept, records: Records, *, sound: bool) -> Iterator[Finding]:
    """The row of the run and the columns of its records.

    records : of the state database, up to the first that is none; sound : their chain holds
    """
    for place, names in kept.strayed(records):
        message = f"the columns of record {place} in {STATE} are not those of the record: {names}"
        yield _error("LEDGER_HASH", message, copy=STATE, line=place, change="edited", lines=1)
    last = records[-1] if records else {}
    head = (kept.run["head_seq"], kept.run["head_hash"])
    if head != (last.get("seq"), last.get("hash")):
        message = f"{STATE} has its head at record {head[0]}, its last one is {last.get('seq')}"
        if head[0] == last.get("seq"):
            message = f"{STATE} has another hash of its head, record {head[0]}, than the record"
        yield _error("LEDGER_TRUNCATED", message, copy=STATE, line=len(kept.lines))
    elif kept.over and last.get("type") != "closed":
        message = f"the run is over, but its last record in {STATE} is not `closed`"
        yield _error("LEDGER_TRUNCATED", message, copy=STATE, line=len(kept.lines))
    elif sound:
        yield from _row_of_the_run(kept, records[0], last)


def _row_of_the_run(kept: Kept, genesis: Mapping[str, Any], last: Mapping[str, Any]) -> Iterator[Finding]:
    """The row of a run against its first record, and its last one where that closes it."""
    said = {
        "profile": genesis["profile"], "trace_id": genesis["trace_id"], "attempt": last["attempt"],
        "pipeline": _of(genesis, "data", "pipeline"), "snapshot": _of(genesis, "data", "snapshot", "id"),
    }  # fmt: skip
    if last["type"] == "closed":
        said |= {
            "state": _of(last, "data", "state"), "exit_code": _of(last, "data", "exit_code"),
            "code": last["code"], "closed_at": last["ts"],
        }  # fmt: skip
    wrong = sorted(name for name, value in said.items() if kept.run[name] != value)
    if wrong:
        message = f"the row of the run in {STATE} is not what its records say: {', '.join(wrong)}"
        yield _error("LEDGER_HASH", message, copy=STATE, line=last["seq"], change="edited", lines=1)


def _of(record: Mapping[str, Any], *names: str) -> Any:
    """A value inside a record, whose `data` may have been forged; null where it is not there."""
    found: Any = record
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def check_without_row(connection: Reader | None, run_id: str) -> Iterator[Finding]:
    """A run that the state database does not list, though other tables of it hold the run."""
    found = ledger_copies.tables_with(connection, run_id)
    if found:
        message = f"{STATE} has no row of the run, though {', '.join(found)} hold it"
        yield _error("LEDGER_TRUNCATED", message, copy=STATE, change="removed")


def check_index(connection: Reader | None, root: Path, run_id: str, records: Records) -> Iterator[Finding]:
    """Every recorded file in its place has a row of the artifact index, and every row is of such a file.

    Of a run that is over; what a retry set aside has no row. Files that carry time are in no record.
    """
    rows = {row["path"] for row in artifact_index.rows(connection, run_id) if not _timed(row["name"])}
    known = {
        output["path"] for record in records if record["type"] == "stage" for output in record["outputs"]
    }
    for path in sorted(known - rows):
        if (root / path).exists():
            yield _error("LEDGER_ARTIFACT", f"the artifact index lacks {path}", path=path, change="removed")
    for path in sorted(rows - known):
        message = f"the artifact index has {path}, which no record names"
        yield _error("LEDGER_ARTIFACT", message, path=path, change="inserted")


def _timed(name: str) -> bool:
    return name in ARTIFACTS and ARTIFACTS[name].timed


def check_manifest(root: Path, records: Records) -> Iterator[Finding]:
    """The manifest is the one whose hash the genesis record has; when and where it was made is left out."""
    relative = ARTIFACTS["resolved_manifest"].path
    wanted = _of(records[0], "data", "manifest_sha256")
    path = root / relative
    if not path.is_file():
        yield _error("LEDGER_ARTIFACT", f"{relative} is missing", path=relative, change="missing")
        return
    try:
        found = parse_strict(path.read_bytes())
    except QuantError:
        found = None
    if not isinstance(found, dict) or {wanted, found.get("manifest_sha256")} not in (
        {manifest_hash(found)},
        {manifest_hash(found, with_origins_of_places=True)},
    ):
        yield _error("LEDGER_ARTIFACT", f"{relative} is changed", path=relative, change="changed")


def _error(code: str, message: str, **details: Any) -> Finding:
    return Finding(level="ERROR", code=code, message=message, details=details)
