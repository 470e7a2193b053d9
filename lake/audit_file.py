"""`audit.jsonl`: the ledger of a run as a file, a projection that is never read back as truth."""

from __future__ import annotations

import os
from pathlib import Path

from quantctl.contracts.canonical import canonical, parse_strict
from quantctl.contracts.errors import QuantError
from quantctl.lake import ledger, state
from quantctl.lake.fault_points import reach
from quantctl.lake.files import disk_faults, write_atomic


def project(url: str, run_id: str, root: Path) -> None:
    """Append the records that `audit.jsonl` lacks and replace `audit_head.json`.

    The head file says how many bytes hold which record, so no append reads the file. A torn last
    line (bytes beyond the head) is cut; a file shorter than its head is written anew.
    """
    path, head_path = root / "audit.jsonl", root / "audit_head.json"
    seq, size = _position(path, head_path)
    with state.reader(url) as connection:
        fresh = ledger.lines(connection, run_id, after=seq) if connection else []
        closed = _is_closed(fresh)
    if not fresh:
        return
    data = "".join(f"{line}\n" for _, _, line in fresh).encode()
    _append(path, size, data)
    last_seq, last_hash, _ = fresh[-1]
    head = {"run_id": run_id, "seq": last_seq, "hash": last_hash, "bytes": size + len(data), "closed": closed}
    write_atomic(head_path, canonical(head))


def is_whole(url: str, run_id: str, root: Path) -> bool:
    """Whether `audit.jsonl` and its head file go up to the last record of the ledger, as far as they tell."""
    with state.reader(url) as connection:
        query = "SELECT head_seq FROM runs WHERE run_id = ?"
        row = connection.execute(query, (run_id,)).fetchone() if connection else None
    return row is not None and _position(root / "audit.jsonl", root / "audit_head.json")[0] == row[0]


def _position(path: Path, head_path: Path) -> tuple[int, int]:
    """(seq, bytes) up to which the file may be trusted; (-1, 0) starts anew."""
    try:
        head = parse_strict(head_path.read_bytes())
        seq, size = int(head["seq"]), int(head["bytes"])
        actual = path.stat().st_size
    except (FileNotFoundError, QuantError, KeyError, TypeError, ValueError):
        return -1, 0
    return (seq, size) if actual >= size else (-1, 0)


def _append(path: Path, at: int, data: bytes) -> None:
    """Cut the file to `at` bytes, append `data`, fsync."""
    with disk_faults(path, len(data)):
        reach("append.begin")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.ftruncate(descriptor, at)
            reach("append.cut")
            os.pwrite(descriptor, data, at)
            reach("append.written")
            os.fsync(descriptor)
            reach("append.synced")
        finally:
            os.close(descriptor)


def _is_closed(lines: list[tuple[int, str, str]]) -> bool:
    return bool(lines) and parse_strict(lines[-1][2])["type"] == "closed"


def restore(root: Path, run_id: str, lines: list[bytes]) -> bool:
    """Write `audit.jsonl` and its head anew where they are missing or end early; whether that was so.

    lines : the whole ledger of a run that is over, with line ends. A file that differs inside is left as it
    is: verification reports it, nothing repairs it.
    """
    path, whole = root / "audit.jsonl", b"".join(lines)
    with disk_faults(path):
        found = path.read_bytes() if path.exists() else b""
    last = parse_strict(lines[-1])
    head = canonical({
        "run_id": run_id, "seq": last["seq"], "hash": last["hash"], "bytes": len(whole),
        "closed": last["type"] == "closed",
    })  # fmt: skip
    head_path = root / "audit_head.json"
    known = head_path.read_bytes() if head_path.exists() else b""
    if not whole.startswith(found) or (found, known) == (whole, head):
        return False
    write_atomic(path, whole)
    write_atomic(head_path, head)
    return True
