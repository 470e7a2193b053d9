"""Bad data: what is missing, stale, damaged, too little or contradictory stops a run, or is typed in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

LONG, SHORT = "binance_spot_rating_all_long", "binance_spot_rating_all_short"
AS_OF = "2024-02-24"
BTC = "BINANCE:BTCUSDT"
RUN = ("run", "--profile", LONG, "--run-id", "trial", "--pipeline", "selection.full")
SPACE = "orchestration.min_free_mb=0"


def candidate(**changes: Any) -> dict[str, Any]:
    """One sound candidate record, with changes."""
    return {
        "symbol": BTC, "exchange": "BINANCE", "asset_type": "spot", "logic": "rating_all",
        "identity": changes.get("symbol", BTC), "direction": "LONG", "scanner": LONG, "metadata": {},
    } | changes  # fmt: skip


def test_without_a_lake_the_import_is_named(damaged: Any) -> None:
    shutil.rmtree(damaged.data / "lakehouse")
    told = damaged.refuses("LAKE_MISSING", 3, *RUN)
    assert "quantctl data import" in told


def test_without_candidates_of_the_date_the_command_that_makes_them_is_named(damaged: Any) -> None:
    told = damaged.refuses("CANDIDATES_EMPTY", 3, *RUN, "--as-of", "2024-02-01", sets=(SPACE,))
    assert f"quantctl data candidates --profile {LONG} --as-of 2024-02-01" in told
    assert damaged.file("trial", "data/gates/foundation.json")["status"] == "FAIL"


@pytest.mark.parametrize(
    ("code", "exit_code", "sets"),
    [
        ("CANDIDATES_EMPTY", 3, ("universe.daily_turnover_min=1e15",)),
        ("FOUNDATION_EMPTY", 3, ("data.min_days_floor=450",)),
        ("CONFIG_CONFLICT", 2, ("features.feature_lookback=90",)),
        ("HEALTH_VERDICT_MISSING", 3, ('backtest.benchmark_symbols=["BINANCE:NOPEUSDT"]',)),
        ("BENCHMARK_MISSING", 3, ('backtest.benchmark_symbols=["BINANCE:PEREUSDT"]',)),
        ("SELECTION_EMPTY", 1, ("htr.entropy_hard_stop=0.01",)),
    ],
)
def test_a_market_that_cannot_carry_the_profile_stops_the_run_and_nothing_else(
    damaged: Any, code: str, exit_code: int, sets: tuple[str, ...]
) -> None:
    damaged.refuses(code, exit_code, *RUN, sets=(SPACE, *sets))
    assert damaged.sdk.status("trial").state == "FAILED"
    if code == "SELECTION_EMPTY":
        audit = damaged.file("trial", "data/selection_audit.json")
        assert "TOXIC_ENTROPY" in json.dumps(audit)
    repeated = damaged(*RUN, "--json", sets=(SPACE, *sets))
    assert repeated.exit == exit_code  # attaches to the failed run; no second genesis
    assert [record["type"] for record in damaged.sdk.ledger("trial")].count("genesis") == 1


def test_a_wrong_direction_in_a_candidates_file_is_refused_and_publishes_nothing(
    damaged: Any, tmp_path: Path
) -> None:
    file = tmp_path / "candidates.json"
    words = ("data", "import", str(file), "--table", "candidates", "--as-of", AS_OF)
    file.write_text(json.dumps([candidate(), candidate(symbol="BINANCE:ETHUSDT", direction="SIDEWAYS")]))
    told = damaged.refuses("CANDIDATE_SCHEMA_INVALID", 1, *words, "--run-id", "i1", sets=("data.strict=1",))
    assert "DIRECTION_INVALID" in told
    file.write_text(json.dumps([candidate(direction="SIDEWAYS")]))
    damaged.refuses("CANDIDATES_EMPTY", 3, *words, "--run-id", "i2", sets=("data.strict=0",))


def test_a_lost_coverage_file_fails_a_strict_run_and_warns_a_lenient_one(damaged: Any) -> None:
    next(damaged.runs_dir.rglob("feature_ingest_coverage.json")).unlink()
    damaged.refuses("COVERAGE_HASH", 3, *RUN, sets=(SPACE,))
    lenient = damaged.run("lenient", "data.strict=0")
    assert lenient.exit == 0, lenient.err
    verdict = damaged.file("lenient", "data/gates/foundation.json")
    assert [(f["level"], f["code"]) for f in verdict["findings"]] == [("WARN", "COVERAGE_HASH")]


def test_an_edited_coverage_file_is_a_lost_one(damaged: Any) -> None:
    path = next(damaged.runs_dir.rglob("price_ingest_coverage.json"))
    path.write_text(path.read_text().replace('"symbols"', '"symbol"', 1) + " ")
    damaged.refuses("COVERAGE_HASH", 3, *RUN, sets=(SPACE,))


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.parametrize("table", ["bars_1d", "candidates"])
def test_a_damaged_part_of_the_lake_is_never_read(damaged: Any, table: str, damage: str) -> None:
    for path in (damaged.data / "lakehouse" / "parts" / table).glob("*.parquet"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.unlink() if damage == "remove" else path.write_bytes(data if damage == "flip" else data[:-9])
    damaged.refuses("SNAPSHOT_CORRUPT", 3, *RUN, sets=(SPACE,))
    damaged.refuses("SNAPSHOT_CORRUPT", 3, "lake", "verify")


def test_an_edited_manifest_of_the_lake_is_never_read(damaged: Any) -> None:
    for path in (damaged.data / "lakehouse" / "manifests").glob("*.json"):
        path.write_bytes(path.read_bytes().replace(b"2024-02-24", b"2024-02-25"))
    damaged.refuses("SNAPSHOT_CORRUPT", 3, *RUN, sets=(SPACE,))


def test_a_stale_snapshot_fails_a_strict_run_and_warns_where_the_profile_allows_it(damaged: Any) -> None:
    later = "2024-03-10"
    bars, candidates = damaged.data.parent / "late.csv", damaged.data.parent / "late.json"
    bars.write_text(f"symbol,date,open,high,low,close,volume\n{BTC},{later},90,91,89,90.5,1000\n")
    candidates.write_text(json.dumps([candidate()]))
    for words in ((str(bars),), (str(candidates), "--table", "candidates", "--as-of", later)):
        done = damaged("data", "import", *words, "--run-id", f"late_{len(words)}")
        assert done.exit == 0, done.err
    told = damaged.refuses("FRESHNESS_STALE", 3, *RUN, "--as-of", later, sets=(SPACE,))
    assert "360 h" in told
    lenient = (*RUN[:4], "lenient", *RUN[5:], "--as-of", later, "--json")
    damaged(*lenient, sets=(SPACE, "data.strict=0"))
    verdict = damaged.file("lenient", "data/gates/foundation.json")
    assert ("WARN", "FRESHNESS_STALE") in [(f["level"], f["code"]) for f in verdict["findings"]]


@pytest.mark.parametrize(
    ("code", "setting"),
    [
        ("ENTROPY_HIGH", "features.entropy_max_threshold=0.7"),
        ("TOXIC_ENTROPY", "htr.entropy_hard_stop=0.885"),
    ],
)
def test_a_lower_entropy_threshold_vetoes_by_name(damaged: Any, code: str, setting: str) -> None:
    done = damaged.run("noisy", setting)
    assert done.exit == 0, done.err
    audit = damaged.file("noisy", "data/selection_audit.json")
    winners = damaged.file("noisy", "data/portfolio_candidates.json")["winners"]
    assert winners
    vetoed = {atom for atom, rows in audit["vetoes"].items() if code in {row["code"] for row in rows}}
    assert vetoed
    if code == "TOXIC_ENTROPY":  # a hard veto that no rung of the ladder admits
        assert not vetoed & {winner["atom"] for winner in winners}


@pytest.mark.slow
def test_a_starved_sleeve_ends_with_typed_scarcity_and_the_fallback(damaged: Any) -> None:
    slim = ('allocation.risk_profiles=["hrp","equal_weight"]',)
    done = damaged.run("starved", *slim, profile=SHORT, pipeline="alpha.full")
    assert done.exit == 0, done.err
    assert "SCARCITY" in damaged.findings("starved")
    weights = damaged.file("starved", "data/portfolio_optimized_v2.json")
    assert '"erc"' in json.dumps(weights)
    assert damaged("ledger", "verify", "starved", "--json").exit == 0


NEUTRAL = (
    'allocation.risk_profiles=["market_neutral","equal_weight"]',
    "allocation.primary_risk_profile=equal_weight",
)


@pytest.mark.slow
def test_an_infeasible_beta_falls_back_and_says_why(damaged: Any) -> None:
    done = damaged.run("neutral", *NEUTRAL, pipeline="alpha.full")
    assert done.exit == 0, done.err
    why = damaged.file("neutral", "data/infeasibility.json")
    assert "INFEASIBLE_BETA" in json.dumps(why)
    nearest = why["certificates"][0]["nearest"][0]
    assert nearest["setting"] == "allocation.beta.tolerance" and nearest["feasible"] > 0.15
    for words in (("show", "neutral"), ("show", "neutral", "infeasibility")):
        told = damaged(*words).out
        assert "market_neutral is infeasible (INFEASIBLE_BETA)" in told
        assert "allocation.beta.tolerance" in told and "beta.upper" in told
    trace = json.dumps(damaged.file("neutral", "data/portfolio_optimized_v2.json"))
    assert "FALLBACK" in trace
    assert damaged.file("neutral", "data/gates/weights_synthetic.json")["errors"] == 0


@pytest.mark.slow
def test_an_infeasible_beta_without_a_fallback_exits_4(damaged: Any) -> None:
    words = ("run", "--profile", LONG, "--run-id", "trial")
    damaged.refuses("INFEASIBLE_BETA", 4, *words, sets=(SPACE, *NEUTRAL, "allocation.fallback=[]"))
    assert (damaged.runs_dir / "trial" / "data" / "infeasibility.json").exists()
    assert not (damaged.runs_dir / "trial" / "data" / "portfolio_flattened.json").exists()
