"""Each rule of a scanner drops the rows it is about, and the funnel says which rule, value and limit."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from quantctl.contracts.settings.universe import UniverseSettings
from quantctl.steps.l1_ingestion.scanner import Document, resolve
from quantctl.steps.l1_ingestion.scanner_lake import Scan, scan

PLAIN = {"logic": "rating_all", "intent": "SHORT", "asset_type": "spot", "filters": {}}


def _market(**odd: Any) -> pl.DataFrame:
    """Two sound rows; `odd` maps a column to the value that the second one has instead."""
    names = ["AAAUSDT", "BBBUSDT"]
    frame = pl.DataFrame({
        "symbol": [f"BINANCE:{name}" for name in names], "name": names, "exchange": "BINANCE",
        "base": ["AAA", "BBB"], "base_identity": ["AAA", "BBB"], "quote": "USDT", "type": "spot",
        "has_bar": True, "close": 1.0, "value_traded": 2e6, "volatility_d": 4.0, "recommend_all": -0.5,
        "recommend_ma": -0.5, "recommend_other": -0.5, "adx_14": 30.0,
    })  # fmt: skip
    second = pl.col("symbol") == "BINANCE:BBBUSDT"
    return frame.with_columns(
        pl.when(second).then(pl.lit(value, dtype=frame.schema[name])).otherwise(pl.col(name)).alias(name)
        for name, value in odd.items()
    )


def _scanned(market: pl.DataFrame, universe: dict[str, float], own: dict[str, Any]) -> Scan:
    definition = resolve("own", {"own": Document(PLAIN | own, lambda path: f"own:{'.'.join(path)}")})
    settings = UniverseSettings.model_validate(universe)
    return scan("own", definition, market, universe=settings, stable_bases=())


@pytest.mark.parametrize(
    ("code", "odd", "universe", "own", "value", "limit"),
    [
        ("QUOTE_EXCLUDED", {"quote": "USDC"}, {}, {"quotes": ["USDT"]}, None, None),
        ("VOLATILITY_D_LOW", {"volatility_d": 0.5}, {"volatility_d_min": 0.6}, {}, 0.5, 0.6),
        ("VOLATILITY_D_LOW", {"volatility_d": 0.6}, {"volatility_d_min": 0.6}, {}, 0.6, 0.6),
        ("VOLATILITY_D_LOW", {"volatility_d": None}, {"volatility_d_min": 0.6}, {}, None, 0.6),
        ("SCAN_GATE", {"adx_14": 20.0}, {}, {"gates": {"g": {"field": "ADX", "min": 20, "mirror": False}}},
         20.0, 20.0),
        ("SCAN_GATE", {"adx_14": None}, {}, {"gates": {"g": {"field": "ADX", "min": 20, "mirror": False}}},
         None, 20.0),
        ("SCAN_GATE", {"recommend_ma": -0.1}, {}, {"gates": {"g": {"field": "Recommend.MA", "min": 0.2}}},
         -0.1, -0.2),
        ("RANK_FIELD_NULL", {"recommend_all": None}, {}, {"sort": {"field": "Recommend.All"}}, None, None),
    ],
)  # fmt: skip
def test_a_row_that_a_rule_is_about_leaves_under_its_code(
    code: str, odd: dict[str, Any], universe: dict[str, float], own: dict[str, Any],
    value: float | None, limit: float | None,
) -> None:  # fmt: skip
    sound = _scanned(_market(), universe, own)
    assert sound.rows["symbol"].to_list() == ["BINANCE:AAAUSDT", "BINANCE:BBBUSDT"]
    found = _scanned(_market(**odd), universe, own)
    assert found.rows["symbol"].to_list() == ["BINANCE:AAAUSDT"]
    fates = {row["symbol"]: row for row in found.funnel.iter_rows(named=True)}
    assert fates["BINANCE:AAAUSDT"]["code"] is None
    told = fates["BINANCE:BBBUSDT"]
    assert (told["code"], told["value"], told["limit"]) == (code, value, limit)
