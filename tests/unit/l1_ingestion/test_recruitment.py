"""The recruitment stage: pool, funnel, matrix, and what stops it."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.settings.whole import Settings
from quantctl.contracts.stage import RunFacts
from quantctl.steps.l1_ingestion.recruitment import RecruitParams, recruit

START, DAYS = date(2021, 1, 1), 401
AS_OF = START + timedelta(days=DAYS - 1)
NAMES = ["BINANCE:AAAUSDT", "BINANCE:BBBUSDT", "BINANCE:BTCUSDT"]


def stage_result(
    candidates=NAMES, adv=1e8, benchmarks=("BINANCE:BTCUSDT",), stale=(), total_limit=200,
    vol=0.03, vol_min=0.0,
):  # fmt: skip
    settings = Settings()
    params = RecruitParams(**{name: getattr(settings, name) for name in RecruitParams.model_fields})
    params = params.model_copy(
        update={
            "backtest": params.backtest.model_copy(update={"benchmark_symbols": benchmarks}),
            "universe": params.universe.model_copy(
                update={"total_limit": total_limit, "daily_vol_min": vol_min}
            ),
        }
    )
    run = RunFacts(
        run_id="r", profile="p", trace_id="t", pipeline="alpha", as_of=AS_OF.isoformat(), snapshot="s",
        manifest_sha256="0" * 64, annualisation=365, code_version="1",
    )  # fmt: skip
    table = pl.DataFrame({"symbol": NAMES})
    base = pl.col("symbol").str.slice(8, 3)
    return recruit(
        lake_candidates=pl.DataFrame(
            {"symbol": list(candidates)}, {"symbol": pl.String}
        ).with_columns(
            scanner=pl.lit("s"), logic=pl.lit("trend"), direction=pl.lit("LONG"),
            exchange=pl.lit("BINANCE"), asset_type=pl.lit("spot"), metadata=pl.lit("{}"),
        ),
        lake_funnel=pl.DataFrame({"symbol": NAMES}),
        lake_symbols=table.with_columns(
            exchange=pl.lit("BINANCE"), base=base, base_identity=base, quote=pl.lit("USDT"),
            asset_type=pl.lit("spot"), calendar=pl.lit("24x7"), leveraged=False, stable=False,
        ),
        lake_metadata=table.with_columns(
            tick_size=0.01, lot_size=0.01, price_precision=2, min_notional=5.0, provenance=pl.lit("venue"),
        ),
        lake_health=table.with_columns(
            status=pl.when(pl.col("symbol").is_in(list(stale))).then(pl.lit("STALE")).otherwise(pl.lit("OK")),
            eligible=~pl.col("symbol").is_in(list(stale)), code=pl.lit("DATA_STALE"), value=200.0,
            threshold=168.0, reason=pl.lit(""),
        ),
        lake_sessions=pl.DataFrame(schema={"code": pl.String, "date": pl.Date}),
        lake_features_latest=table.with_columns(
            date=pl.lit(AS_OF), adv_30=pl.lit(adv), vol_30=pl.lit(vol, pl.Float64),
        ),
        lake_bars=pl.concat(
            pl.DataFrame({
                "symbol": name, "date": [START + timedelta(days=d) for d in range(DAYS)],
                "close": np.cumprod(1 + np.random.default_rng(i).normal(0, 0.02, DAYS)),
            })
            for i, name in enumerate(NAMES)
        ),
        params=params, run=run,
    )  # fmt: skip


def test_a_healthy_universe_gives_four_outputs():
    got = stage_result()
    assert set(got.outputs) == {
        "portfolio_candidates_raw", "candidates_funnel", "foundation_report", "returns_matrix",
    }  # fmt: skip
    assert got.error is None and got.metrics["matrix_rows"] == 400
    assert got.outputs["foundation_report"].column_roles["BINANCE:BTCUSDT"] == ["pool", "reference"]
    assert "column_roles" in got.outputs["returns_matrix"].metadata


def test_no_candidates_name_the_command_that_finds_them():
    got = stage_result(candidates=[])
    assert got.error.code == "CANDIDATES_EMPTY" and got.error.exit_code == 3
    assert got.error.remedy == f"quantctl data candidates --profile p --as-of {AS_OF}"


def test_a_pool_of_vetoed_rows_is_empty_but_explained():
    got = stage_result(adv=1.0)
    assert got.error.code == "CANDIDATES_EMPTY"
    assert got.error.details["TURNOVER_LOW"]["count"] == 3
    assert len(got.outputs["portfolio_candidates_raw"].rows) == 3


def test_a_full_pool_keeps_the_first_and_tells_the_others_their_place():
    got = stage_result(total_limit=2)
    rows = got.outputs["portfolio_candidates_raw"].rows
    vetoes = {row.symbol: [(v.code, v.value, v.limit) for v in row.vetoes] for row in rows}
    assert vetoes == {NAMES[0]: [], NAMES[1]: [], NAMES[2]: [("POOL_LIMIT", 3.0, 2.0)]}
    assert "pool" not in got.outputs["foundation_report"].column_roles.get(NAMES[2], [])


@pytest.mark.parametrize("vol", [0.02, 0.05, None])
def test_a_volatility_that_is_not_above_the_floor_vetoes_with_value_and_limit(vol):
    got = stage_result(vol=vol, vol_min=0.05)
    assert (got.error.code, got.error.exit_code) == ("CANDIDATES_EMPTY", 3)
    assert got.error.details["VOLATILITY_LOW"]["count"] == 3
    vetoes = [v for row in got.outputs["portfolio_candidates_raw"].rows for v in row.vetoes]
    assert [(v.code, v.value, v.limit) for v in vetoes] == [("VOLATILITY_LOW", vol, 0.05)] * 3


def test_no_surviving_asset_keeps_the_report():
    got = stage_result(candidates=NAMES[:1], stale=NAMES[:1])
    assert got.error.code == "FOUNDATION_EMPTY" and got.error.exit_code == 3
    assert "foundation_report" in got.outputs and "returns_matrix" not in got.outputs


def test_a_needed_benchmark_that_fails_stops_the_run():
    got = stage_result(candidates=NAMES[:2], stale=["BINANCE:BTCUSDT"])
    assert got.error.code == "BENCHMARK_MISSING" and got.error.exit_code == 3


def test_findings_count_and_name_examples():
    got = stage_result(stale=NAMES[:1])
    found = {f.code: f.details for f in got.findings}
    assert found["DATA_STALE"] == {"count": 1, "examples": NAMES[:1]}
