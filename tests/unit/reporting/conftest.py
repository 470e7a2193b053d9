"""A small valid run in memory: its files as bytes and the sealed ledger that names them."""

from __future__ import annotations

import functools
import io
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.artifacts import path_of
from quantctl.contracts.canonical import canonical, hash_json, parse_strict, sha256_hex
from quantctl.contracts.ledger_chain import GENESIS_HASH, line_of, seal
from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.sleeve import SleeveSettings
from quantctl.contracts.stage import RunFacts
from quantctl.steps.reporting.validation import ValidationParams, judge_ledger, judge_run

BODY = {"profile": "p", "run_id": "r1", "settings": {"sleeve": {"direction": "MIXED"}}}
FACTS = RunFacts(
    run_id="r1", profile="p", trace_id="a" * 32, pipeline="alpha.full", as_of="2026-01-30", snapshot="s1",
    manifest_sha256=hash_json(BODY), annualisation=365, code_version="0.1",
)  # fmt: skip
STAGES = {
    "foundation.gate": ("lake_snapshot", "gate_foundation"),
    "selection.ingestion": ("returns_matrix", "gate_candidates", "gate_l0"),
    "selection.policy": ("selection_audit", "gate_l1_l2", "gate_winners"),
    "selection.enrichment": ("gate_enrichment",),
    "selection.synthesis": ("synthetic_returns", "atoms", "synthetic_gates", "gate_l3", "sign_test_pre_opt"),
    "allocation.regime": ("regime", "gate_regime"),
    "allocation.optimization": ("portfolio_optimized_v2", "gate_l4_synthetic", "sign_test"),
    "allocation.flattening": ("portfolio_flattened", "gate_l4_physical"),
    "report.validation": ("ledger_verdict", "atomic_validation"),
}
ATOMS = pl.DataFrame({
    "atom": ["X:A_1_trend_LONG", "X:A_1_rating_all_SHORT", "X:B.P_trend_LONG"],
    "symbol": ["X:A_1", "X:A_1", "X:B.P"],
    "logic": ["trend", "rating_all", "trend"],
    "direction": ["LONG", "SHORT", "LONG"],
    "factor": pl.Series([1, -1, 1], dtype=pl.Int8),
    "deploy_gate": pl.Series([1, 1, 0], dtype=pl.Int8),
})  # fmt: skip


def path(name):
    return path_of(name, profile="p", run_id="r1")


def parquet(frame):
    sink = io.BytesIO()
    frame.write_parquet(sink)
    return sink.getvalue()


def verdict(gate, **more):
    return canonical({
        "schema": "quantctl.gate/1", "gate": gate, "run_id": "r1", "profile": "p", "trace_id": "a" * 32,
        "status": "PASS", "errors": 0, "warnings": 0, "findings": [], "checked": {"atoms": 3}, "inputs": {},
        **more,
    })  # fmt: skip


def solver(files):
    assets = [
        {"Symbol": atom, "Weight": weight, "Net_Weight": weight, "Direction": "LONG", "Cluster_ID": "1",
         "Cluster_Weight": 1.0, "Intra_Cluster_Weight": weight, "Type": "CORE"}
        for atom, weight in zip(ATOMS["atom"], (0.5, 0.3, 0.2), strict=True)
    ]  # fmt: skip
    profile = {
        "status": "OPTIMAL", "reason": None, "fallback_chain": [], "assets": assets, "clusters": [],
        "totals": {"gross": 1.0, "net": 1.0, "cash": 0.0, "n_assets": 3},
        "constraints": {"cluster_cap": 0.25, "effective_cap": 1.0, "weight_cap": 1.0,
                        "effective_weight_cap": 1.0, "cap_relaxed": False, "beta": None,
                        "beta_tolerance": None, "market_neutral": False},
        "conditioning": {"kappa": 12.0, "kappa_limit": 5000.0, "shrinkage": 0.0, "n_obs": 30, "n_columns": 3},
        "solver": {"engine": "native", "formulation": "hierarchical_risk_parity", "solver": "x",
                   "status": "OPTIMAL", "iterations": 0},
    }  # fmt: skip
    inputs = {name: sha256_hex(files[path(name)]) for name in ("synthetic_returns", "atoms", "regime")}
    return envelope("synthetic", inputs) | {"profiles": {"hrp": profile, "equal_weight": profile}}


def physical(source):
    """Long 0.5 and short 0.3 of one symbol; the other symbol's atom is gated off."""
    asset = {
        "Symbol": "X:A_1", "Weight": 0.8, "Gross_Weight": 0.8, "Net_Weight": 0.2, "Netting": 0.6,
        "Direction": "LONG", "Cluster_ID": "1",
        "Contributors": [{"atom": ATOMS["atom"][0], "weight": 0.5, "factor": 1, "gate": 1},
                         {"atom": ATOMS["atom"][1], "weight": 0.3, "factor": -1, "gate": 1}],
    }  # fmt: skip
    profile = {
        "status": "OPTIMAL", "reason": None, "fallback_chain": [], "assets": [asset],
        "inactive": [{"atom": ATOMS["atom"][2], "weight": 0.2}],
        "totals": {"gross": 0.8, "net": 0.2, "abs_net": 0.2, "netting": 0.6, "cash": 0.0, "gated_cash": 0.2,
                   "self_financing_cash": 0.8, "n_assets": 1, "long_gross": 0.5, "short_gross": 0.3},
    }  # fmt: skip
    inputs = {"portfolio_optimized_v2": sha256_hex(source)}
    return envelope("physical", inputs) | {"profiles": {"hrp": profile, "equal_weight": profile}}


def envelope(space, inputs):
    return {
        "schema": "quantctl.portfolio/2.1", "space": space, "run_id": "r1", "profile": "p",
        "trace_id": "a" * 32, "as_of": "2026-01-30T00:00:00Z", "annualisation": 365, "inputs": inputs,
        "cluster_registry": {},
        "optimization": {"regime": {"name": "NORMAL", "score": 1.0, "quadrant": "NORMAL"}},
        "metadata": {"code_version": "0.1", "kernel_version": "1", "flattened": space == "physical"},
    }  # fmt: skip


@functools.cache
def run_files():
    """Bytes of every file by path, those of the validation stage left out."""
    rng = np.random.default_rng(3)
    dates = pl.Series("date", [date(2026, 1, 1) + timedelta(i) for i in range(30)])
    dates = dates.cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    columns = {name: rng.normal(0, 0.02, 30) for name in ("X:A_1", "X:B.P")}
    gates = {atom: pl.Series([1] * 30, dtype=pl.Int8) for atom in ATOMS["atom"]}
    streams = {atom: columns[s] * f for atom, s, f in ATOMS.select("atom", "symbol", "factor").iter_rows()}
    files = {
        path("resolved_manifest"): canonical(BODY | {"manifest_sha256": FACTS.manifest_sha256}),
        path("lake_snapshot"): canonical({"id": "s1"}),
        path("selection_audit"): canonical({"scarcity": None}),
        path("regime"): canonical({"regime": "NORMAL"}),
        path("returns_matrix"): parquet(pl.DataFrame({"date": dates, **columns})),
        path("synthetic_returns"): parquet(pl.DataFrame({"date": dates, **streams})),
        path("synthetic_gates"): parquet(pl.DataFrame({"date": dates, **gates})),
        path("atoms"): parquet(ATOMS),
    }
    for names in STAGES.values():
        files |= {path(n): verdict(n) for n in names if n.startswith(("gate_", "sign_test"))}
    files[path("portfolio_optimized_v2")] = canonical(solver(files))
    files[path("portfolio_flattened")] = canonical(physical(files[path("portfolio_optimized_v2")]))
    return files


class MemoryRun:
    """A run that can be doctored: `files` and `drafts` are open, `records` are sealed from the drafts."""

    def __init__(self):
        self.files = dict(run_files())
        self.drafts = []
        self.sign = True
        self.direction = "MIXED"
        self.book("genesis", "info", data={"stages": list(STAGES)})
        for name in list(STAGES)[:-1]:
            self.stage(name)

    @property
    def records(self):
        found, previous = [], GENESIS_HASH
        for seq, draft in enumerate(self.drafts):
            found.append(seal(draft | {"seq": seq, "ts": f"2026-02-01T00:00:00.{seq:06d}Z"}, previous))
            previous = found[-1]["hash"]
        return found

    @property
    def params(self):
        return ValidationParams(
            features=FeaturesSettings(feat_directional_sign_test_gate_atomic=self.sign),
            sleeve=SleeveSettings(direction=self.direction), allocation=AllocationSettings(),
        )  # fmt: skip

    def book(self, kind, status, step=None, attempt=1, code=None, outputs=(), data=None):
        self.drafts.append({
            "v": 1, "type": kind, "run_id": "r1", "profile": "p", "trace_id": "a" * 32, "span_id": None,
            "step": step, "attempt": attempt, "status": status, "code": code, "inputs": [],
            "outputs": [self.reference(name) for name in outputs], "data": data or {},
        })  # fmt: skip

    def reference(self, name):
        return {"name": name, "path": path(name), "sha256": sha256_hex(self.files[path(name)]), "rows": None}

    def stage(self, name, attempt=1, status="success"):
        self.book("stage", "intent", name, attempt)
        for output in STAGES[name]:
            if path(output) in self.files and (body := self.gate_body(output)) is not None:
                data = {key: body[key] for key in ("gate", "status", "errors", "warnings")}
                self.book("gate", "success", name, attempt, outputs=[output], data=data)
        self.book("stage", status, name, attempt, outputs=[n for n in STAGES[name] if path(n) in self.files])

    def gate_body(self, name):
        if not name.startswith(("gate_", "sign_test", "ledger_verdict", "atomic_validation")):
            return None
        return parse_strict(self.files[path(name)])

    def decide(self, code, stage="allocation.optimization", **details):
        """A decision, booked where its stage ends."""
        last = max(i for i, draft in enumerate(self.drafts) if draft["step"] == stage)
        self.book("decision", "info", stage, code=code, data={"details": details})
        self.drafts.insert(last, self.drafts.pop())

    def finish(self, attempt=1):
        """The validation stage as the runner does it, then the closing record."""
        ledger, whole = self.ledger(), self.validation()
        self.files[path("ledger_verdict")] = verdict("ledger", **counts(ledger))
        self.files[path("atomic_validation")] = verdict("atomic_validation", **counts(whole))
        self.stage("report.validation", attempt)
        self.book("closed", "info", attempt=attempt, data={"state": "SUCCESS"})
        return self

    def reopen(self, stage, attempt):
        """Set aside the outputs of `stage` and all later ones, as a retry does."""
        latest = {}
        for draft in self.drafts:
            latest |= {output["name"]: draft["attempt"] for output in draft["outputs"]}
        for name in list(STAGES)[list(STAGES).index(stage) :]:
            for output in STAGES[name]:
                if path(output) in self.files:
                    data = self.files.pop(path(output))
                    self.files[f"attempts/{latest[output]}/{path(output)}"] = data
        self.book("event", "info", stage, attempt, "REOPENED", data={"attempt": attempt, "from_stage": stage})

    def rewrite(self, name, edit):
        """Edit the JSON of an artifact and book it as if the run had written it so."""
        body = parse_strict(self.files[path(name)])
        edit(body)
        self.replace(name, canonical(body))

    def replace(self, name, data):
        """Other bytes of an artifact, booked as if the run had written them."""
        self.files[path(name)] = data
        for draft in self.drafts:
            draft["outputs"] = [self.reference(name) if o["name"] == name else o for o in draft["outputs"]]

    def seen(self):
        projection = b"".join(line_of(record) for record in self.records)
        return self.files | {path("audit_ledger"): projection}

    def ledger(self, *, terminal=False, projection=None):
        files = self.seen()
        lines = files[path("audit_ledger")] if projection is None else projection
        return judge_ledger(self.records, lines, files, self.params, terminal=terminal)

    def validation(self, *, terminal=False, without=()):
        errors = counts(self.ledger(terminal=terminal))["errors"]
        files = {k: v for k, v in self.seen().items() if k not in without}
        return judge_run(
            files, self.records, self.params, FACTS, ledger_errors=errors, terminal=terminal
        )  # fmt: skip


def counts(judgement):
    errors = sum(f.level == "ERROR" for f in judgement.findings)
    return {"errors": errors, "warnings": 0, "status": "FAIL" if errors else "PASS"}


@pytest.fixture
def memory_run():
    """A fresh run before its validation stage."""
    return MemoryRun()


@pytest.fixture
def kit():
    """The builders of the run, for tests that doctor parts of it."""
    return SimpleNamespace(path=path, parquet=parquet, verdict=verdict, facts=FACTS)
