"""All risk profiles through the command line: both engines, both structures, declared cash, typed ends."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from quantctl.contracts.settings.allocation import RISK_PROFILES

LONG = "binance_spot_rating_all_long"
RUN = ("run", "--profile", LONG, "--run-id", "trial")
SPACE = "orchestration.min_free_mb=0"
BUDGETS = "allocation.budgets=" + json.dumps({str(i): 1.0 for i in range(1, 26)})
ALL = ("allocation.risk_profiles=" + json.dumps(RISK_PROFILES), BUDGETS)
# What the kernels need is NumPy and LAPACK; Clarabel projects tree weights on clusters of which many bind.
FORBIDDEN = ("cvxpy", "scipy.stats", "scipy.optimize", "sklearn")
NATIVE_RUN = """
import json, sys
from quantctl.cli import main
code = main(json.loads(sys.argv[1]))
print(json.dumps({"exit": code, "loaded": sorted(sys.modules)}), file=sys.stderr)
"""

pytestmark = pytest.mark.slow


def profiles_of(door: Any, run_id: str, file: str = "portfolio_optimized_v2") -> Any:
    return door.file(run_id, f"data/{file}.json")["profiles"]


def weights(profile: Any) -> dict[str, float]:
    return {row["Symbol"]: row["Weight"] for row in profile["assets"]}


def distance(one: Any, other: Any) -> float:
    a, b = weights(one), weights(other)
    return max((abs(a.get(key, 0.0) - b.get(key, 0.0)) for key in a.keys() | b.keys()), default=0.0)


@pytest.fixture(scope="module")
def trials(fair: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small market with a run of all risk profiles on each engine."""
    door = fair.copy(tmp_path_factory.mktemp("trials"))
    for engine in ("native", "cvxpy"):
        done = door.run(engine, *ALL, f"allocation.engine={engine}", pipeline="alpha.full")
        assert done.exit == 0, done.out + done.err
    return door


@pytest.mark.parametrize("engine", ["native", "cvxpy"])
def test_a_run_of_all_risk_profiles_passes_all_gates_and_its_audit(trials: Any, engine: str) -> None:
    found = profiles_of(trials, engine)
    assert set(found) == set(RISK_PROFILES)
    assert {name for name, p in found.items() if p["status"] == "SKIPPED"} == {"market"}
    assert {p["solver"]["engine"] for p in found.values()} == {engine}
    assert (found["market_neutral"]["status"], found["market_neutral"]["reason"]) == (
        "FALLBACK", "INFEASIBLE_BETA",
    )  # fmt: skip
    for gate in ("weights_synthetic", "weights_physical"):
        assert trials.file(engine, f"data/gates/{gate}.json")["errors"] == 0
    assert trials("ledger", "verify", engine, "--json").exit == 0
    assert trials("audit", "atomic", engine, "--json").exit == 0


def test_both_engines_give_the_same_weights(trials: Any) -> None:
    native, cvxpy = profiles_of(trials, "native"), profiles_of(trials, "cvxpy")
    assert {name: distance(native[name], cvxpy[name]) for name in RISK_PROFILES} == pytest.approx(
        dict.fromkeys(RISK_PROFILES, 0.0), abs=1e-6
    )


def test_adaptive_is_recorded_with_its_target(trials: Any) -> None:
    trace = trials.file("native", "data/allocation_trace.json")["profiles"]["adaptive"]
    held = profiles_of(trials, "native")["adaptive"]
    quadrant = trials.file("native", "data/regime.json")["quadrant"]
    settings = trials.file("native", "config/resolved_manifest.json")["settings"]["allocation"]
    assert trace["target"] == settings["adaptive"]["map"][quadrant]
    assert [row["profile"] for row in held["fallback_chain"]][:2] == ["adaptive", trace["target"]]
    assert "ADAPTIVE_TARGET" in trials.findings("native")


def test_a_native_run_loads_no_modelling_library(damaged: Any) -> None:
    words = [
        "--set", f"paths.data_dir={damaged.data}", "--set", SPACE, "--set", BUDGETS,
        "--set", ALL[0], *RUN, "--json",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", NATIVE_RUN, json.dumps(words)], text=True, capture_output=True,
        cwd=damaged.data.parent, timeout=300, check=True,
    )  # fmt: skip
    report = json.loads(done.stderr.splitlines()[-1])
    assert report["exit"] == 0, done.stdout
    loaded = set(report["loaded"])
    assert "quantctl.steps.l4_allocation.ladder" in loaded
    assert [name for name in FORBIDDEN if name in loaded] == []


@pytest.mark.parametrize(
    "keys",
    [
        ("allocation.structure=two_layer",),
        ("allocation.cash=allowed", "allocation.cash_min_exposure=0"),
        (
            "features.feat_turnover_penalty=true",
            'allocation.previous_weights={"BINANCE:GONEUSDT_rating_all_LONG": 1.0}',
        ),
    ],
    ids=["two layers", "cash", "previous weights"],
)
def test_structures_cash_and_previous_weights_pass_the_same_gates(
    damaged: Any, keys: tuple[str, ...]
) -> None:
    done = damaged.run("trial", *ALL, *keys, pipeline="alpha.full")
    assert done.exit == 0, done.err
    for name, held in profiles_of(damaged, "trial").items():
        total = held["totals"]
        assert held["assets"] == [] or total["gross"] + total["cash"] == pytest.approx(1.0, abs=1e-9), name
    neutral = profiles_of(damaged, "trial")["market_neutral"]
    if "allocation.cash=allowed" in keys:
        assert (neutral["status"], neutral["constraints"]["market_neutral"]) == ("OPTIMAL", True)
        assert 0.0 < neutral["totals"]["cash"] < 1.0
        flat = profiles_of(damaged, "trial", "portfolio_flattened")["market_neutral"]["totals"]
        assert flat["gross"] + flat["gated_cash"] + flat["cash"] == pytest.approx(1.0, abs=1e-9)
    if "features.feat_turnover_penalty=true" in keys:
        notes = damaged.file("trial", "data/allocation_trace.json")["profiles"]["min_variance"]["notes"]
        assert (notes["exit_turnover"], notes["traded"]) == (1.0, pytest.approx(1.0))
    assert damaged("audit", "atomic", "trial", "--json").exit == 0


ONE = (
    'allocation.risk_profiles=["min_variance"]',
    "allocation.primary_risk_profile=min_variance",
    "allocation.fallback=[]",
)
OPEN = ("allocation.weight_max=1", "allocation.cluster_cap=1")
NEUTRAL = (
    'allocation.risk_profiles=["market_neutral"]',
    "allocation.primary_risk_profile=market_neutral",
    "allocation.fallback=[]",
)


@pytest.mark.parametrize(
    ("code", "sets"),
    [
        ("INFEASIBLE_BOUNDS", (*ONE, *OPEN, "allocation.weight_min=0.2")),
        ("INFEASIBLE_CAPS", (*ONE, "allocation.weight_min=0.06", "allocation.clusters.max_clusters=2")),
        ("INFEASIBLE_BETA", NEUTRAL),
        ("EXPOSURE_BELOW_MIN", (*NEUTRAL, "allocation.cash=allowed", "allocation.cash_min_exposure=0.9")),
    ],
)  # fmt: skip
def test_what_cannot_be_met_exits_4_by_name_with_file_and_ledger(
    damaged: Any, code: str, sets: tuple[str, ...]
) -> None:
    damaged.refuses(code, 4, *RUN, sets=(SPACE, *sets))
    [held] = profiles_of(damaged, "trial").values()
    assert (held["status"], held["reason"], held["assets"]) == ("INFEASIBLE", code, [])
    written = (damaged.runs_dir / "trial" / "data" / "infeasibility.json").exists()
    assert written is code.startswith("INFEASIBLE")
    booked = "INFEASIBLE" if written else code
    assert {booked, "ALLOCATION_RESULT"} <= set(damaged.findings("trial"))


@pytest.mark.parametrize("clusters", [1, 2, 3])
def test_few_clusters_run_with_relaxed_caps(damaged: Any, clusters: int) -> None:
    sets = (*ALL, f"allocation.clusters.max_clusters={clusters}")
    done = damaged.run("trial", *sets, pipeline="alpha.full")
    assert done.exit == 0, done.err
    assert {"CAP_RELAXED", "CAP_DEGENERATE"} <= set(damaged.findings("trial"))
    held = profiles_of(damaged, "trial")["min_variance"]["constraints"]
    assert held["cap_relaxed"] and held["effective_cap"] >= 1 / clusters - 1e-12


@pytest.mark.parametrize(
    ("code", "sets"),
    [
        ("BUDGET_MISSING", ('allocation.risk_profiles=["risk_budget"]',)),
        ("BETA_UNSUPPORTED_FOR_PROFILE", ('allocation.beta.apply_to=["herc"]',)),
        ("CONFIG_RANGE", ('allocation.previous_weights={"a": 0.7, "b": 0.7}',)),
        ("CONFIG_RANGE", ("allocation.scarcity_fallback=adaptive",)),
    ],
)
def test_what_contradicts_itself_is_refused_before_the_run(
    market: Any, code: str, sets: tuple[str, ...]
) -> None:
    market.refuses(code, 2, *RUN[:-1], "never", sets=sets)
    assert not (market.runs_dir / "never").exists()
