"""INDEX.md: its verdict is the validation's, its hashes are the ledger's, and a lie is found."""

from __future__ import annotations

import copy

import pytest

from quantctl.contracts.canonical import sha256_hex
from quantctl.contracts.errors import ContractError
from quantctl.steps.reporting.index import index_mismatches, render_index

FILES = {
    "data/returns_matrix.parquet": b"matrix",
    "data/regime.json": b"{}",
    "config/resolved_manifest.json": b"m",
}
MANIFEST = {
    "profile": "binance_spot", "run_id": "r1", "trace_id": "0" * 32, "snapshot": {"id": "snap-1"},
    "replay": ["quantctl", "run", "--profile", "binance spot"],
}  # fmt: skip
ARTIFACTS = [
    {"name": name, "path": path, "sha256": sha256_hex(FILES[path]), "rows": rows, "bytes": len(FILES[path])}
    for name, path, rows in (
        ("returns_matrix", "data/returns_matrix.parquet", 400),
        ("regime", "data/regime.json", None),
        ("resolved_manifest", "config/resolved_manifest.json", None),
    )
]


def verdict(gate, status="PASS", warnings=0, code=None):
    findings = [{"level": "ERROR", "code": code}] if code else []
    return {"gate": gate, "status": status, "errors": len(findings), "warnings": warnings,
            "findings": findings, "profile": "binance_spot", "run_id": "r1"}  # fmt: skip


def index(status="PASS", code=None, artifacts=ARTIFACTS, files=FILES):
    verdicts = {
        "data/gates/l0_returns.json": verdict("l0", "WARN", warnings=2),
        "reports/validation/v.json": verdict("atomic_validation", status, code=code),
    }
    return render_index(MANIFEST, verdicts, artifacts, files)


def test_the_verdict_is_that_of_atomic_validation():
    assert "Verdict: **PASS** (0 errors in atomic validation, 2 warnings in all gates)" in index()
    failed = index("FAIL", "ATOMIC_STALE_INPUT")
    assert "Verdict: **FAIL**" in failed
    assert "ATOMIC_STALE_INPUT" in failed


def test_a_run_without_validation_has_no_verdict():
    text = render_index(MANIFEST, {"data/gates/l0_returns.json": verdict("l0")}, ARTIFACTS, FILES)
    assert "Verdict: **NONE**" in text


def test_a_file_that_carries_time_has_neither_hash_nor_size():
    line = next(row for row in index().splitlines() if "resolved_manifest" in row)
    assert [cell.strip() for cell in line.strip("|").split("|")][1:] == ["", "", ""]


def test_the_replay_command_can_be_pasted():
    assert "- replay `quantctl run --profile 'binance spot'`" in index()


def test_the_index_agrees_with_its_own_sources():
    assert index_mismatches(index(), MANIFEST, ARTIFACTS) == []


@pytest.mark.parametrize("key", ["profile", "run_id"])
def test_a_verdict_of_another_run_stops_the_index(key):
    foreign = verdict("l0") | {key: "other"}
    with pytest.raises(ContractError) as stopped:
        render_index(MANIFEST, {"data/gates/l0_returns.json": foreign}, ARTIFACTS, FILES)
    assert stopped.value.code == "INDEX_MISMATCH"


def test_a_changed_file_stops_the_index():
    with pytest.raises(ContractError) as stopped:
        index(files=FILES | {"data/regime.json": b"[]"})
    assert stopped.value.code == "INDEX_MISMATCH"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# binance_spot: r1", "# binance_spot: r2"),
        ("# binance_spot", "# other"),
        (sha256_hex(b"matrix")[:12], "0" * 12),
        ("`data/regime.json`", "`data/regime2.json`"),
    ],
)
def test_an_edited_index_is_a_mismatch(old, new):
    edited = index().replace(old, new, 1)
    assert edited != index()
    found = index_mismatches(edited, MANIFEST, ARTIFACTS)
    assert {finding.code for finding in found} == {"INDEX_MISMATCH"}


def test_a_later_artifact_makes_the_index_stale():
    later = copy.deepcopy(ARTIFACTS)
    later[1]["sha256"] = "f" * 64
    assert "data/regime.json" in index_mismatches(index(), MANIFEST, later)[0].message
