"""Universes without enough information, through the command line: typed ends, none silent."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
LONG, AS_OF = "binance_spot_rating_all_long", "2024-02-24"
MODEL = "BIJAUSDT"  # what the twin and the opposite are made from
AMONG = [
    "BABUUSDT", "BAGIUSDT", "BIJAUSDT", "DASOUSDT", "ETHUSDT", "FEDUUSDT",
    "FOXIUSDT", "FUBAUSDT", "GUNEUSDT", "JILEUSDT", "KUZIUSDT", "LISAUSDT",
    "MAPEUSDT", "NOTAUSDT", "PEMOUSDT", "SINOUSDT", "TAGEUSDT", "TODIUSDT",
    "VOPOUSDT", "XEKEUSDT", "XUFIUSDT",
]  # fmt: skip
LENIENT = (  # no filter but the hard vetoes: the universe is what is imported
    'selection.filters=["darwinian"]', "universe.dup_corr=1", "orchestration.min_free_mb=0",
    'allocation.risk_profiles=["hrp","herc","erc","min_variance","max_sharpe","equal_weight"]',
)  # fmt: skip


def atom(name: str) -> str:
    return f"BINANCE:{name}_rating_all_LONG"


def bars(model: list[tuple[Any, ...]], name: str, closes: list[float]) -> list[tuple[Any, ...]]:
    """Bars of a made symbol on the model's days, traded for the same amount every day."""
    opens = [closes[0], *closes[:-1]]
    return [
        (f"BINANCE:{name}", day, o, max(o, c) * 1.001, min(o, c) * 0.999, c, 1e8 / c)
        for (day, _), o, c in zip(model, opens, closes, strict=True)
    ]


def instrument(name: str) -> dict[str, Any]:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "900000.0"},
        {"filterType": "NOTIONAL", "minNotional": "5.0"},
    ]
    return {
        "symbol": name, "baseAsset": name[:-4], "quoteAsset": "USDT", "status": "TRADING", "filters": filters,
    }  # fmt: skip


@pytest.fixture(scope="module")
def odd(fair: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small market with a twin of one symbol, its opposite, and a constant price."""
    door = fair.copy(tmp_path_factory.mktemp("odd"))
    query = f"SELECT date, close FROM bars_1d WHERE symbol = 'BINANCE:{MODEL}' ORDER BY date"
    model = door.sdk.query_rows(query)[1]
    closes = [close for _, close in model]
    opposite = [50.0]
    for before, after in itertools.pairwise(closes):
        opposite.append(opposite[-1] * (2 - after / before))
    made = {"TWINUSDT": [3 * c for c in closes], "OPPOUSDT": opposite, "CONSTUSDT": [10.0] * len(closes)}
    path = door.data.parent / "bars.csv"
    with path.open("w") as stream:
        writer = csv.writer(stream)
        writer.writerow(("symbol", "date", "open", "high", "low", "close", "volume"))
        for name, path_of_prices in made.items():
            writer.writerows(bars(model, name, path_of_prices))
    rules = door.data.parent / "instruments.json"
    listed = door.sdk.query_rows("SELECT DISTINCT symbol FROM bars_1d ORDER BY symbol")[1]
    names = sorted({symbol.partition(":")[2] for (symbol,) in listed} | made.keys())
    told = {"serverTime": 1706745600000, "symbols": [instrument(name) for name in names]}
    rules.write_text(json.dumps(told))
    for run_id, words in {
        "bars": ("data", "import", str(path)),
        "rules": ("data", "import", str(rules), "--table", "instruments"),
        "features": ("data", "features", "--all-symbols", "--yes"),
    }.items():
        done = door(*words, "--run-id", f"odd_{run_id}")
        assert done.exit == 0, done.out + done.err
    return door


def offer(door: Any, scanner: str, names: list[str]) -> tuple[str, ...]:
    """Make `names` the candidates of a scanner; returns the settings that read them."""
    path = Path(door.data).parent / f"{scanner}.json"
    rows = [
        {"symbol": f"BINANCE:{name}", "exchange": "BINANCE", "asset_type": "spot", "logic": "rating_all",
         "identity": f"BINANCE:{name}", "direction": "LONG", "scanner": scanner, "metadata": {}}
        for name in names
    ]  # fmt: skip
    path.write_text(json.dumps(rows))
    words = ("data", "import", str(path), "--table", "candidates", "--as-of", AS_OF)
    done = door(*words, "--run-id", f"offer_{scanner}")
    assert done.exit == 0, done.out + done.err
    return (f'discovery.scanners=["{scanner}"]', *LENIENT)


def profiles(door: Any, run_id: str) -> Any:
    return door.file(run_id, "data/portfolio_optimized_v2.json")["profiles"]


def weights(profile: Any) -> dict[str, float]:
    return {row["Symbol"]: row["Weight"] for row in profile["assets"]}


def passes(door: Any, run_id: str) -> None:
    assert door("ledger", "verify", run_id, "--json").exit == 0
    audit = door("audit", "atomic", run_id, "--json", sets=("orchestration.min_free_mb=0",))
    assert audit.exit == 0, audit.out + audit.err


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_to_three_atoms_are_typed_scarcity_on_every_profile(odd: Any, count: int) -> None:
    run_id = f"few{count}"
    sets = offer(odd, run_id, [MODEL, "MAPEUSDT", "ETHUSDT"][:count])
    done = odd.run(run_id, *sets, pipeline="alpha.full")
    assert done.exit == 0, done.err
    assert {"SCARCITY", "ALLOCATION_FALLBACK", "CAP_RELAXED"} <= set(odd.findings(run_id))
    found = profiles(odd, run_id)
    assert found.pop("equal_weight")["status"] == "OPTIMAL"
    for name, profile in found.items():
        assert (profile["status"], profile["reason"]) == ("FALLBACK", "SCARCITY"), name
        assert sum(weights(profile).values()) == pytest.approx(1.0, abs=1e-9)
        assert len(weights(profile)) == count
    passes(odd, run_id)


def test_a_constant_price_is_no_candidate_and_alone_it_is_none_at_all(odd: Any) -> None:
    sets = offer(odd, "constant", ["CONSTUSDT"])
    words = ("run", "--profile", LONG, "--run-id", "constant")
    odd.refuses("CANDIDATES_EMPTY", 3, *words, sets=sets)
    sets = offer(odd, "among", [*AMONG, "CONSTUSDT"])
    assert odd.run("among", *sets).exit == 0
    drops = {d["symbol"]: d["code"] for d in odd.file("among", "data/foundation_report.json")["drops"]}
    assert drops["BINANCE:CONSTUSDT"] in ("HEALTH_TOXIC", "ZERO_VARIANCE", "VOLATILITY_LOW")


def test_a_duplicate_is_one_identity_and_where_it_is_kept_the_twins_weigh_the_same(odd: Any) -> None:
    sets = offer(odd, "twins", [*AMONG, "TWINUSDT"])
    default = tuple(text for text in sets if "dup_corr" not in text)
    assert odd.run("one", *default).exit == 0
    assert "IDENTITY_DUPLICATE" in odd.findings("one")
    done = odd.run("twins", *sets, pipeline="alpha.full")
    assert done.exit == 0, done.err
    assert "DUPLICATE_STREAM" in _codes(odd, "twins")
    found = profiles(odd, "twins")
    for name in ("erc", "min_variance", "equal_weight", "max_sharpe"):
        held = weights(found[name])
        twin, model = held.get(atom("TWINUSDT"), 0.0), held.get(atom(MODEL), 0.0)
        assert twin == pytest.approx(model, abs=1e-7), name
    passes(odd, "twins")


def test_an_opposite_stream_is_conditioned_and_carries_weight(odd: Any) -> None:
    sets = offer(odd, "opposite", [*AMONG, "OPPOUSDT"])
    done = odd.run("opposite", *sets, pipeline="alpha.full")
    assert done.exit == 0, done.err
    found = profiles(odd, "opposite")
    held = weights(found["min_variance"])
    assert min(held[atom("OPPOUSDT")], held[atom(MODEL)]) > 1 / len(AMONG)  # the pair hedges itself
    result = [data for code, data in _decisions(odd, "opposite") if code == "ALLOCATION_RESULT"]
    after = [data["details"]["kappa_after"] for data in result if data["details"].get("kappa_after")]
    assert after and max(after) <= 5000 * (1 + 1e-9)
    passes(odd, "opposite")


@pytest.mark.parametrize("clusters", [2, 3])
def test_few_clusters_of_which_one_is_a_singleton_run_with_the_effective_cap(odd: Any, clusters: int) -> None:
    run_id = f"single{clusters}"
    sets = offer(odd, run_id, [*AMONG, "OPPOUSDT"])
    done = odd.run(run_id, *sets, f"allocation.clusters.max_clusters={clusters}", pipeline="alpha.full")
    assert done.exit == 0, done.err
    document = odd.file(run_id, "data/portfolio_optimized_v2.json")
    sizes: dict[str, int] = {}
    for row in document["profiles"]["erc"]["assets"]:
        sizes[row["Cluster_ID"]] = sizes.get(row["Cluster_ID"], 0) + 1
    assert len(sizes) == clusters and 1 in sizes.values()
    cap = max(0.25, 1 / clusters)
    for name in ("hrp", "erc", "min_variance", "max_sharpe"):
        by_cluster: dict[str, float] = {}
        for row in document["profiles"][name]["assets"]:
            by_cluster[row["Cluster_ID"]] = by_cluster.get(row["Cluster_ID"], 0.0) + row["Weight"]
        assert max(by_cluster.values()) <= cap + 1e-9, name
    assert "CAP_RELAXED" in odd.findings(run_id)
    passes(odd, run_id)


def test_all_negative_excess_falls_back_by_name_and_without_a_fallback_exits_4(odd: Any) -> None:
    sets = (*offer(odd, "negative", AMONG), "allocation.risk_free=50")
    done = odd.run("negative", *sets, pipeline="alpha.full")
    assert done.exit == 0, done.err
    ratio = profiles(odd, "negative")["max_sharpe"]
    assert (ratio["status"], ratio["reason"]) == ("FALLBACK", "NON_POSITIVE_EXCESS")
    assert "NON_POSITIVE_EXCESS" in odd.findings("negative")
    words = ("run", "--profile", LONG, "--run-id", "bare")
    odd.refuses("NON_POSITIVE_EXCESS", 4, *words, sets=(*sets, "allocation.fallback=[]"))
    assert not (odd.runs_dir / "bare" / "data" / "portfolio_flattened.json").exists()


def _decisions(door: Any, run_id: str) -> list[tuple[str, Any]]:
    return [(record["code"], record["data"]) for record in door.sdk.ledger(run_id) if record["code"]]


def _codes(door: Any, run_id: str) -> set[str]:
    return {code for code, _ in _decisions(door, run_id)}
