"""What a run reads of the coverage files that its snapshot names: their hash and their contract."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quantctl.contracts.canonical import canonical
from quantctl.contracts.records.coverage import offline_coverage
from quantctl.workflows.lake_inputs import _READERS

SOUND = offline_coverage(
    run_id="d1", profile="p", stage="price_ingest", source="import", expected=["X:A", "X:B"],
    failed={"X:B": "BAR_INVALID"}, started_at="2026-01-01T00:00:00+00:00", strict=False,
).model_dump(mode="json")  # fmt: skip


def _read(root: Path, data: bytes | None) -> dict[str, Any]:
    if data is not None:
        (root / "coverage.json").write_bytes(data)
    entry = {"path": "coverage.json", "sha256": sha256(data or b"").hexdigest()}
    snapshot = SimpleNamespace(facts=lambda: {"coverage": [entry]})
    pinned = SimpleNamespace(snapshot=snapshot, places=SimpleNamespace(artifacts_dir=root))
    [found] = _READERS["lake_coverage"](pinned)  # type: ignore[arg-type]
    return found


def test_a_sound_file_has_its_hash_and_no_error(tmp_path: Path) -> None:
    found = _read(tmp_path, canonical(SOUND))
    assert found["sha256_on_disk"] == found["sha256"]
    assert found["schema_error"] is None


def test_a_lost_file_has_no_hash(tmp_path: Path) -> None:
    found = _read(tmp_path, None)
    assert (found["sha256_on_disk"], found["schema_error"]) == (None, None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"coverage": 0.75}, "coverage is not covered / expected"),
        ({"failed_symbols": []}, "failed symbols are not those of the last attempt"),
        ({"covered": 2}, "failed symbols are not those of the last attempt"),
        ({"attempts": []}, "attempts"),
        ({"more": 1}, "more"),
    ],
)
def test_a_file_that_contradicts_itself_is_told_to_the_gate_as_coverage_schema(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    found = _read(tmp_path, json.dumps(SOUND | change).encode())
    assert found["sha256_on_disk"] == found["sha256"]  # it is what was recorded: COVERAGE_SCHEMA, not _HASH
    assert told in found["schema_error"]
