from __future__ import annotations

import polars as pl
import pytest

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.settings.universe import UniverseSettings
from quantctl.scanner_files import definitions, documents
from quantctl.steps.l1_ingestion.scanner import Document, bounds_of, resolve, runnable
from quantctl.steps.l1_ingestion.scanner_lake import scan

BASE = {
    "abstract": True, "asset_type": "spot", "quotes": ["USDT"],
    "filters": {"kind": {"field": "type", "op": "equal", "value": "spot"},
                "cheap": {"field": "close", "op": "less", "value": 10}},
}  # fmt: skip
CHILD = {"base": "root", "logic": "rating_all", "intent": "SHORT",
         "filters": {"rating": {"field": "Recommend.All", "op": "less", "value": 0}}}  # fmt: skip


def shelf(**own):
    return {
        name: Document(value, lambda path, name=name: f"{name}:{'.'.join(path)}")
        for name, value in own.items()
    }


def code_of(own, name="child"):
    with pytest.raises(ConfigError) as caught:
        resolve(name, shelf(**own))
    assert caught.value.exit_code == 2
    return caught.value.code


def test_filters_are_added_replaced_and_removed_by_id():
    added = resolve("child", shelf(root=BASE, child=CHILD))
    assert sorted(added.filters) == ["cheap", "kind", "rating"]
    replaced = resolve(
        "child",
        shelf(root=BASE, child=CHILD | {"filters": {"cheap": {"field": "open", "op": "less", "value": 1}}}),
    )
    assert replaced.filters["cheap"].field == "open"
    removed = resolve("child", shelf(root=BASE, child=CHILD | {"filters": {"cheap": None}}))
    assert sorted(removed.filters) == ["kind"]


def test_a_list_of_filters_discards_the_inherited_ones():
    child = CHILD | {"filters": [{"field": "Recommend.All", "op": "less", "value": 0}]}
    assert [f.field for f in resolve("child", shelf(root=BASE, child=child)).filters.values()] == [
        "Recommend.All"
    ]


def test_lists_replace_and_abstract_is_not_inherited():
    found = resolve("child", shelf(root=BASE, child=CHILD | {"quotes": ["USDC"]}))
    assert found.quotes == ("USDC",)
    assert not found.abstract
    with pytest.raises(ConfigError, match="abstract"):
        runnable("root", resolve("root", shelf(root=BASE)))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"limits": 3}, "SCANNER_UNKNOWN_KEY"),
        ({"lake": {"sort": {"fields": "close"}}}, "SCANNER_UNKNOWN_KEY"),
        ({"filters": {"x": {"field": "close", "op": "less", "valu": 1}}}, "SCANNER_UNKNOWN_KEY"),
        ({"filters": {"x": {"field": "close", "op": "lesser", "value": 1}}}, "SCANNER_FILTER_INVALID"),
        ({"filters": {"x": {"field": "close", "op": "less", "value": "1"}}}, "SCANNER_FILTER_INVALID"),
        ({"base": "rot"}, "SCANNER_BASE_MISSING"),
        ({"base": "child"}, "SCANNER_BASE_CYCLE"),
        ({"intent": "UP"}, "SCANNER_INTENT_MISSING"),
        ({"logic": None}, "SCANNER_INTENT_MISSING"),
        ({"filters": {"a": {"field": "close", "op": "greater", "value": 10}}}, "SCANNER_CONTRADICTION"),
        ({"gates": {"g": {"field": "Recommend.All", "min": 0.3, "mirror": False}}}, "SCANNER_CONTRADICTION"),
        ({"gates": {"g": {"field": "Perf.1M", "min": 0, "mirror": False}}}, "SCANNER_CONTRADICTION"),
    ],
)  # fmt: skip
def test_faulty_definitions_are_refused(change, code):
    assert code_of({"root": BASE, "child": CHILD | change}) == code


def test_unknown_scanner_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'child'"):
        resolve("chid", shelf(root=BASE, child=CHILD))


def test_gates_mirror_with_the_intent():
    found = resolve("child", shelf(root=BASE, child=CHILD | {"gates": {
        "momentum": {"field": "Perf.1M", "min": 0}, "adx": {"field": "ADX", "min": 20,
            "mirror": False}}}))  # fmt: skip
    assert bounds_of(found.gates["momentum"], "SHORT") == (None, 0)
    assert bounds_of(found.gates["adx"], "SHORT") == (20, None)


def test_every_shipped_scanner_resolves():
    names = tuple(n for n in documents() if not n.endswith("_base"))
    found = definitions(names)
    assert len(found) >= 12
    assert all(found[n].intent == n.rsplit("_", 1)[1].upper() for n in found)


def market(n=240):
    score = [(i - n / 2) / n for i in range(n)]
    return pl.DataFrame({
        "symbol": [f"BINANCE:A{i:03d}USDT" for i in range(n)], "name": [f"A{i:03d}USDT" for i in range(n)],
        "exchange": ["BINANCE"] * n, "base": [f"A{i:03d}" for i in range(n)],
            "base_identity": [f"A{i:03d}" for i in range(n)],
        "quote": ["USDT"] * n, "type": ["spot"] * n, "has_bar": [True] * (n - 1) + [False],
            "close": [1.0] * n,
        "value_traded": [2e6] * (n - 2) + [5.0, 2e6], "volatility_d": [4.0] * n,
        "recommend_all": score, "recommend_ma": score, "recommend_other": score,
    })  # fmt: skip


def scanned(name, frame, **universe):
    return scan(
        name, definitions((name,))[name], frame, universe=UniverseSettings(**universe), stable_bases=("A000",)
    )


@pytest.mark.parametrize("kind", ["all", "ma", "osc"])
def test_short_scanners_return_only_negative_rows_and_keep_the_most_negative(kind):
    found = scanned(f"binance_spot_rating_{kind}_short", market())
    assert found.rows.height == 100
    assert found.rows["recommend_all"].max() < 0
    assert found.rows["symbol"].to_list() == [
        f"BINANCE:A{i:03d}USDT" for i in range(1, 101)
    ]  # A000 is excluded


def test_long_scanners_keep_the_highest_and_the_funnel_names_everyone():
    found = scanned("binance_spot_rating_all_long", market())
    assert found.rows["symbol"][0] == "BINANCE:A237USDT"
    assert found.rows.height == 100
    assert found.funnel.height == 240
    assert found.daily == "Recommend.All|240"
    out = dict(found.funnel.select("symbol", "code").iter_rows())
    assert out["BINANCE:A239USDT"] == "NO_BAR_AT_AS_OF"
    assert out["BINANCE:A238USDT"] == "CURRENT_BAR_LOW"
    assert out["BINANCE:A010USDT"] == "SCAN_FILTER"
    assert out["BINANCE:A125USDT"] == "SCAN_LIMIT"
    assert out["BINANCE:A200USDT"] is None


def test_the_order_of_rows_changes_no_scan():
    one, other = (
        scanned("binance_spot_rating_all_long", market()),
        scanned("binance_spot_rating_all_long", market()[::-1]),
    )
    assert one.rows.equals(other.rows)
    assert one.funnel.equals(other.funnel)


def test_a_scanner_may_not_loosen_the_floor():
    with pytest.raises(ConfigError) as caught:
        scanned("binance_perp_rating_all_long", market(), current_bar_min=6e7)
    assert caught.value.code == "SCANNER_FLOOR_LOOSENED"


def test_a_sort_over_another_timeframe_is_refused_without_a_lake_block():
    own = CHILD | {"sort": {"field": "Recommend.All|240"}}
    definition = resolve("child", shelf(root=BASE, child=own))
    with pytest.raises(ConfigError) as caught:
        scan("child", definition, market(), universe=UniverseSettings(), stable_bases=())
    assert caught.value.code == "SCANNER_FIELD_UNAVAILABLE"
