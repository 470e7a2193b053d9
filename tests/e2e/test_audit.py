"""The combined audit: it passes what a run wrote, finds every lie about it, and changes nothing of it."""

from __future__ import annotations

import io
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from quantctl.auditing import audit
from quantctl.contracts.canonical import canonical, parse_strict
from quantctl.contracts.errors import ConfigError, DataMissing
from quantctl.contracts.ledger_chain import seal
from quantctl.sdk import QuantSDK
from quantctl.workflows import compute

pytestmark = pytest.mark.slow


class Copy:
    """A copy of the demo's data directory that may be doctored; `mended` puts everything back."""

    def __init__(self, data: Path, run_id: str, profile: str) -> None:
        self.data = data
        self.run_id = run_id
        self.profile = profile
        self.root = data / "artifacts" / "summaries" / "runs" / run_id
        self.validation = f"reports/validation/atomic_validation_{profile}_{run_id}.json"
        self.verdict = f"reports/validation/atomic_audit_{profile}_{run_id}.json"
        self.sdk = QuantSDK(overrides=[f"paths.data_dir={data}"], env={})
        self.saved: dict[Path, bytes] = {}

    def save(self, path: Path) -> Path:
        self.saved.setdefault(path, path.read_bytes())
        return path

    def mended(self) -> None:
        for path, data in self.saved.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.saved.clear()

    def edit(self, name: str, change) -> None:
        path = self.save(self.root / name)
        body = parse_strict(path.read_bytes())
        change(body)
        path.write_bytes(canonical(body))

    def bytes_of_run(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.root)): p.read_bytes() for p in self.root.rglob("*") if p.is_file()}

    def audit(self):
        return audit(self.sdk, self.run_id)

    def codes(self) -> set[str]:
        """Codes of every ERROR of an audit, in whatever part."""
        result = self.audit()
        found = set()
        for part in result["parts"]:
            body = parse_strict((self.root / part["verdict"]).read_bytes())
            found |= {f["code"] for f in body["findings"] if f["level"] == "ERROR"}
        assert result["ok"] == (not found)
        assert len(result["parts"]) == 4, "a part was left out"
        return found


@pytest.fixture(scope="module")
def _copied(demo, demo_runs, demo_sdk, tmp_path_factory) -> Copy:
    data = tmp_path_factory.mktemp("audit") / "data"
    shutil.copytree(demo[0], data, symlinks=True)
    profile = next(row["profile"] for row in demo[1]["data"] if row["run_id"] == demo_runs["SHORT"])
    return Copy(data, demo_runs["SHORT"], profile)


@pytest.fixture
def run(_copied: Copy) -> Copy:
    yield _copied
    _copied.mended()


def test_an_untouched_run_passes_in_every_part(run):
    result = run.audit()
    assert result["ok"]
    assert [(p["part"], p["status"]) for p in result["parts"]] == [
        ("sign_test.pre_opt", "PASS"), ("sign_test.post_opt", "PASS"), ("ledger", "PASS"),
        ("atomic_validation", "PASS"),
    ]  # fmt: skip


def test_an_audit_writes_only_its_own_files_and_twice_the_same(run):
    own = {
        "data/directional_sign_test_audit.json", "data/directional_sign_test_pre_opt_audit.json",
        "data/ledger_audit.json", run.verdict, run.verdict.replace(".json", ".md"),
    }  # fmt: skip
    for name in own:
        (run.root / name).unlink(missing_ok=True)
    before = run.bytes_of_run()
    run.audit()
    first = run.bytes_of_run()
    assert {name: first[name] for name in before} == before
    assert set(first) - set(before) == own
    run.audit()
    assert run.bytes_of_run() == first


def hrp(body):
    return body["profiles"]["hrp"]


def move_weight(body):
    """Shift weight between two atoms: every sum still holds."""
    first, second = hrp(body)["assets"][:2]
    for key in ("Weight", "Net_Weight"):
        first[key] += 1e-3
        second[key] -= 1e-3


def test_a_weight_moved_between_atoms_is_found(run):
    run.edit("data/portfolio_optimized_v2.json", move_weight)
    assert {"ATOMIC_STALE_INPUT", "ATOMIC_CONSERVATION", "LEDGER_ARTIFACT"} <= run.codes()


def test_a_position_turned_to_long_is_found(run):
    def turn(body):
        asset = hrp(body)["assets"][0]
        asset.update(Net_Weight=-asset["Net_Weight"], Direction="LONG")

    run.edit("data/portfolio_flattened.json", turn)
    assert {"ATOMIC_STALE_INPUT", "ATOMIC_FLATTEN_SCHEMA", "LEDGER_ARTIFACT"} <= run.codes()


@pytest.mark.parametrize(
    "name",
    [
        "data/gates/l0_returns.json", "data/gates/weights_physical.json", "data/ledger_verdict.json",
        "data/directional_sign_test.json", "data/directional_sign_test_pre_opt.json",
    ],
)  # fmt: skip
def test_a_doctored_verdict_is_found(run, name):
    run.edit(name, lambda body: body.update(status="PASS", checked={"atoms": 999}, warnings=0, findings=[]))
    found = run.codes()
    assert {"LEDGER_GATE_MISSING", "ATOMIC_STALE_INPUT"} <= found
    if "sign_test" in name:
        assert "AUDIT_DIVERGENCE" in found


def test_a_doctored_validation_is_found(run):
    run.edit(run.validation, lambda body: body.update(status="FAIL", errors=1))
    assert {"LEDGER_GATE_MISSING", "AUDIT_DIVERGENCE"} <= run.codes()


@pytest.mark.parametrize("name", ["returns_matrix", "synthetic_returns", "synthetic_gates", "atoms"])
def test_a_doctored_frame_is_found(run, name):
    path = run.save(run.root / "data" / f"{name}.parquet")
    frame = pl.read_parquet(io.BytesIO(path.read_bytes()))
    frame.reverse().write_parquet(path)
    found = run.codes()
    assert {"ATOMIC_STALE_INPUT", "LEDGER_ARTIFACT", "AUDIT_DIVERGENCE"} <= found
    assert any(code.startswith("SIGNTEST_") for code in found)


FILES = [
    "data/returns_matrix.parquet", "data/synthetic_returns.parquet", "data/atoms.parquet",
    "data/synthetic_gates.parquet", "data/portfolio_optimized_v2.json", "data/portfolio_flattened.json",
    "data/directional_sign_test.json", "config/resolved_manifest.json", "data/regime.json",
    "data/selection_audit.json", "reports/portfolio/report.md",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["removed", "truncated", "emptied"])
def test_a_file_that_was_damaged_is_found(run, name, how):
    path = run.save(run.root / name)
    data = path.read_bytes()
    path.unlink() if how == "removed" else path.write_bytes(
        b"" if how == "emptied" else data[: len(data) // 2]
    )
    found = run.codes()
    expected = {"ATOMIC_MANIFEST_PARSE"} if "manifest" in name else {"ATOMIC_STALE_INPUT", "LEDGER_ARTIFACT"}
    assert expected <= found


def test_a_changed_setting_in_the_manifest_is_found(run):
    run.edit(
        "config/resolved_manifest.json", lambda body: body["settings"]["allocation"].update(cluster_cap=0.9)
    )
    assert run.codes() == {"ATOMIC_STALE_INPUT", "ATOMIC_LEDGER_FAIL", "LEDGER_ARTIFACT", "AUDIT_DIVERGENCE"}


@pytest.mark.parametrize(
    ("doctor", "code"),
    [
        (lambda lines: lines[:-1], "LEDGER_PROJECTION"),
        (lambda lines: lines[:20] + lines[21:], "LEDGER_PROJECTION"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "LEDGER_PROJECTION"),
        (lambda lines: [line.replace(b'"warnings":0', b'"warnings":9') for line in lines], "LEDGER_HASH"),
        (lambda lines: [*lines, lines[-1]], "LEDGER_SEQ"),
    ],
)
def test_a_doctored_audit_file_is_found(run, doctor, code):
    path = run.save(run.root / "audit.jsonl")
    path.write_bytes(b"".join(doctor(path.read_bytes().splitlines(keepends=True))))
    assert {code, "LEDGER_PROJECTION"} <= run.codes()


def test_a_chain_sealed_anew_over_a_lie_is_found(run):
    """The file alone is consistent then; the state database does not agree with it."""
    path = run.save(run.root / "audit.jsonl")
    records = [parse_strict(line) for line in path.read_bytes().splitlines()]
    records[-1]["data"] = records[-1]["data"] | {"exit_code": 1}
    sealed, previous = [], "0" * 64
    for record in records:
        sealed.append(seal({k: v for k, v in record.items() if not k.endswith("hash")}, previous))
        previous = sealed[-1]["hash"]
    path.write_bytes(b"".join(canonical(record) + b"\n" for record in sealed))
    assert "LEDGER_PROJECTION" in run.codes()


def test_a_gate_record_removed_from_the_database_is_found(run):
    state = run.save(run.data / "state" / "quantctl.sqlite")
    with sqlite3.connect(state) as connection:
        row = connection.execute(
            "SELECT min(seq) FROM run_ledger WHERE run_id = ? AND type = 'gate'", (run.run_id,)
        ).fetchone()
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("DELETE FROM run_ledger WHERE run_id = ? AND seq = ?", (run.run_id, row[0]))
    connection.close()
    assert {"LEDGER_SEQ", "LEDGER_GATE_MISSING", "LEDGER_PROJECTION"} <= run.codes()


def test_a_head_that_names_another_record_is_found(run):
    run.edit("audit_head.json", lambda body: body.update(hash="0" * 64))
    assert run.codes() >= {"LEDGER_TRUNCATED"}


@pytest.mark.parametrize(
    ("old", "new"),
    [("# ", "# other_"), ("| `data/regime.json", "| `data/regime2.json"), ("`data/atoms", "`data/at")],
)
def test_an_edited_index_is_found(run, old, new):
    path = run.save(run.root / "INDEX.md")
    path.write_text(path.read_text().replace(old, new, 1))
    assert run.codes() == {"INDEX_MISMATCH", "ATOMIC_LEDGER_FAIL", "AUDIT_DIVERGENCE"}


def test_a_trace_that_is_missing_or_of_another_run_is_found(run):
    run.edit("forensic_trace.json", lambda body: body.update(trace_id="f" * 32))
    assert "ATOMIC_TRACE_ID" in run.codes()
    (run.root / "forensic_trace.json").unlink()
    assert "TRACE_MISSING" in run.codes()


def test_only_the_exact_id_names_a_run(run):
    with pytest.raises(DataMissing) as stopped:
        audit(run.sdk, run.run_id[:-1])
    assert (stopped.value.code, stopped.value.exit_code) == ("RUN_NOT_FOUND", 3)


def test_a_profile_that_is_given_must_be_the_runs_own(run):
    with pytest.raises(ConfigError) as stopped:
        audit(run.sdk, run.run_id, profile="other")
    assert stopped.value.code == "ATOMIC_PROFILE_MISMATCH"


def exit_code(run, *words):
    command = [sys.executable, "-m", "quantctl", "--set", f"paths.data_dir={run.data}", "audit", "atomic"]
    return subprocess.run([*command, *words], capture_output=True, cwd=run.data).returncode


def test_the_command_tells_by_its_exit_code(run):
    assert exit_code(run, run.run_id) == 0
    assert exit_code(run, "no_such_run") == 3
    assert exit_code(run, run.run_id, "--profile", "other") == 1
    run.edit("data/portfolio_optimized_v2.json", move_weight)
    assert exit_code(run, run.run_id) == 1


def test_a_run_that_failed_and_was_retried_passes_with_its_first_attempt_set_aside(run, monkeypatch):
    called, failures = compute._call, [DataMissing("ISOLATION_INPUT_MISSING", "once", where="", remedy="")]

    def failing_once(session, spec, attempt, outcome):
        if spec.id == "allocation.flattening" and failures:
            raise failures.pop()
        return called(session, spec, attempt, outcome)

    monkeypatch.setattr(compute, "_call", failing_once)
    run.sdk.run_pipeline("alpha.full", profile=run.profile, run_id="retried", as_of="2025-03-10")
    assert run.sdk.retry("retried", "allocation.regime").state == "SUCCESS"
    assert audit(run.sdk, "retried")["ok"]
    aside = run.root.parent / "retried" / "attempts" / "1" / "data" / "gates" / "regime.json"
    aside.write_bytes(aside.read_bytes() + b" ")
    assert not audit(run.sdk, "retried")["ok"]
