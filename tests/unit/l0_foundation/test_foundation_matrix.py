"""The foundation matrix: every rule, roles, gaps, calendars and real history."""

from __future__ import annotations

import os
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.settings.whole import Settings
from quantctl.steps.l0_foundation.density import dense_rows
from quantctl.steps.l0_foundation.duplicates import duplicates
from quantctl.steps.l0_foundation.identity import identify, listed_bases
from quantctl.steps.l0_foundation.matrix import Universe, build_matrix

START = date(2021, 1, 1)
DAYS = 401
AS_OF = START + timedelta(days=DAYS - 1)
NO_SESSIONS = pl.DataFrame(schema={"code": pl.String, "date": pl.Date})
GOOD = {"status": "OK", "eligible": True, "code": None, "value": None, "threshold": None}


def walk(seed, days=DAYS):
    return 100.0 * np.cumprod(1.0 + np.random.default_rng(seed).normal(0, 0.02, days))


def bars_of(closes, skip=()):
    frames = [
        pl.DataFrame({"symbol": s, "date": [START + timedelta(days=i) for i in range(len(c))], "close": c})
        for s, c in closes.items()
    ]
    frame = pl.concat(frames)
    for symbol, day in skip:
        at = START + timedelta(days=day)
        frame = frame.filter(~((pl.col("symbol") == symbol) & (pl.col("date") == at)))
    return frame


def judged(
    bars, pool, reference=(), benchmarks=(), health=None, sessions=NO_SESSIONS, data=None, as_of=AS_OF,
    unjudged=(),
):  # fmt: skip
    settings = Settings()
    settings = settings.model_copy(update={"data": settings.data.model_copy(update=data or {})})
    names = sorted({*pool, *reference, *benchmarks})
    bases = listed_bases([(s, None, "spot") for s in names])
    stable = frozenset(settings.discovery.stable_bases)
    universe = Universe(
        pool, reference, benchmarks, {s: 1e8 + i for i, s in enumerate(names)},
        {s: GOOD | (health or {}).get(s, {}) for s in names if s not in unjudged},
        {s: identify(s, known_bases=bases, stable_bases=stable) for s in names},
    )  # fmt: skip
    return build_matrix(bars, sessions, universe, settings, as_of, 365)


def code_of(matrix, symbol):
    return [d.code for d in matrix.drops if d.symbol == symbol]


def spoiled(kind):
    rng = np.random.default_rng(9)
    close = walk(1)
    if kind == "HISTORY_SHORT":
        return close[:200]
    if kind == "TOXIC_RETURN":
        close[200:] *= 8
    if kind == "ZERO_VARIANCE":
        return np.full(DAYS, 7.0)
    if kind == "HEALTH_FLATLINE":
        return np.repeat(close, 2)[:DAYS]
    if kind == "PEG_DETECTED":
        return 1.0 + rng.normal(0, 0.0004, DAYS)
    return close


@pytest.mark.parametrize(
    "code", ["HISTORY_SHORT", "TOXIC_RETURN", "ZERO_VARIANCE", "HEALTH_FLATLINE", "PEG_DETECTED"]
)
def test_every_rule_on_prices_is_reachable(code):
    m = judged(bars_of({"BINANCE:AAAUSDT": walk(2), "BINANCE:BBBUSDT": spoiled(code)}),
               ["BINANCE:AAAUSDT", "BINANCE:BBBUSDT"])  # fmt: skip
    assert code_of(m, "BINANCE:BBBUSDT") == [code]
    assert m.frame.columns == ["date", "BINANCE:AAAUSDT"]


def test_names_and_health_veto():
    names = ["BINANCE:EURUSDT", "BINANCE:BTCUSDT", "BINANCE:BTCUPUSDT", "BINANCE:JUPUSDT", "BINANCE:XUSDT",
             "BINANCE:YUSDT", "BINANCE:ZUSDT"]  # fmt: skip
    bars = bars_of({s: walk(i) for i, s in enumerate(names)}).filter(pl.col("symbol") != "BINANCE:XUSDT")
    bad = {"eligible": False, "code": "RETURN_SPIKE", "value": 9.0, "threshold": 5.0}
    health = {"BINANCE:YUSDT": bad | {"status": "TOXIC"}, "BINANCE:ZUSDT": bad | {"status": "STALE"}}
    m = judged(bars, names, health=health)
    codes = ["STABLE_LISTED", None, "LEVERAGED_TOKEN", None, "DATA_MISSING", "HEALTH_TOXIC", "DATA_STALE"]
    assert [next(iter(code_of(m, s)), None) for s in names] == codes


def test_bars_without_a_health_status_are_no_evidence_of_health():
    closes = {"BINANCE:AAAUSDT": walk(1), "BINANCE:BBBUSDT": walk(2)}
    m = judged(bars_of(closes), list(closes), unjudged=["BINANCE:BBBUSDT"])
    assert code_of(m, "BINANCE:BBBUSDT") == ["HEALTH_UNKNOWN"]
    assert m.frame.columns == ["date", "BINANCE:AAAUSDT"]


def test_gap_day_is_no_zero_and_the_return_goes_to_the_previous_observed_close():
    closes = {"BINANCE:AAAUSDT": walk(1), "BINANCE:BBBUSDT": walk(2)}
    m = judged(bars_of(closes, [("BINANCE:AAAUSDT", 200)]), list(closes))
    gap, after = (np.datetime64(START + timedelta(days=d), "ns") for d in (200, 201))
    dates = m.frame["date"].dt.replace_time_zone(None).to_numpy()
    assert gap not in dates and m.dropped_rows == {"24x7": 1}
    value = m.frame["BINANCE:AAAUSDT"].to_numpy()[dates == after][0]
    a = closes["BINANCE:AAAUSDT"]
    assert value == a[201] / a[199] - 1.0


def test_too_many_gaps_and_the_dominated_floor():
    closes = {"BINANCE:AAAUSDT": walk(1), "BINANCE:BBBUSDT": walk(2)}
    gaps = [("BINANCE:AAAUSDT", d) for d in range(100, 150)]
    m = judged(bars_of(closes, gaps), list(closes), data={"min_days_floor": 252})
    assert code_of(m, "BINANCE:AAAUSDT") == ["GAP_EXCESS"]
    assert m.floor == {"configured": 252, "effective": 360}
    assert "FLOOR_DOMINATED" in [n.code for n in m.notes]


def test_mixed_calendars_are_inner_joined_with_counts():
    closes = {"BINANCE:AAAUSDT": walk(1), "NYSE:BBB": walk(2)}
    days = [START + timedelta(days=i) for i in range(DAYS)]
    weekdays = [d for d in days if d.weekday() < 5]
    sessions = pl.DataFrame({"code": "XNYS", "date": weekdays})
    bars = bars_of(closes).filter((pl.col("symbol") != "NYSE:BBB") | pl.col("date").is_in(weekdays))
    m = judged(bars, list(closes), sessions=sessions, data={"min_days_floor": 250})
    assert m.frame["date"].dt.weekday().max() == 5
    assert m.dropped_rows == {"24x7": 400 - m.frame.height, "XNYS": 0}
    assert (m.frame["NYSE:BBB"] != 0).all()
    weekend = judged(bars_of(closes), list(closes), sessions=sessions, data={"min_days_floor": 250})
    assert code_of(weekend, "NYSE:BBB") == ["OFF_CALENDAR"]


def test_reference_gap_and_benchmark_do_not_cost_rows():
    closes = {f"BINANCE:{c}{c}{c}USDT": walk(i) for i, c in enumerate("ABC")}
    skip = [("BINANCE:BBBUSDT", 50), ("BINANCE:CCCUSDT", 60)]
    m = judged(bars_of(closes, skip), ["BINANCE:AAAUSDT"], ["BINANCE:BBBUSDT"], ["BINANCE:CCCUSDT"])
    assert m.frame.shape == (400, 2)
    assert code_of(m, "BINANCE:BBBUSDT") == ["REFERENCE_GAP"]
    assert m.missing_benchmarks == ["BINANCE:CCCUSDT"]


def test_clone_is_one_identity_and_the_liquid_one_stays():
    close = walk(1)
    noise = 1 + np.random.default_rng(5).normal(0, 1e-5, DAYS)
    m = judged(bars_of({"BINANCE:AAAUSDT": close, "BINANCE:BBBUSDT": close * noise}),
               ["BINANCE:AAAUSDT", "BINANCE:BBBUSDT"])  # fmt: skip
    assert code_of(m, "BINANCE:AAAUSDT") == ["IDENTITY_DUPLICATE"]
    assert m.roles == {"BINANCE:BBBUSDT": ["pool"]}


def test_correlation_below_120_common_rows_is_no_evidence():
    x = np.random.default_rng(0).normal(size=(200, 1)).repeat(2, axis=1)
    x[119:, 0] = np.nan
    assert duplicates(x, ["A", "B"], np.array([1.0, 2.0]), 0.995) == []


def test_density_ties_go_by_lower_turnover_then_larger_symbol():
    x = np.ones((100, 20))
    x[:20, 3], x[20:40, 4], x[40:60, 5] = np.nan, np.nan, np.nan
    adv = np.full(20, 5.0)
    adv[4] = 1.0
    names = [f"S{i:02d}" for i in range(20)]
    _, _, gone = dense_rows(x, names, adv, floor=10, target=100)
    assert [r.column for r in gone] == [4, 5, 3]


def test_density_of_200_assets_is_fast():
    rng = np.random.default_rng(0)
    x = np.where(rng.random((800, 200)) < 0.02, np.nan, 1.0)
    began = time.process_time()
    dense_rows(x, [f"S{i:03d}" for i in range(200)], rng.random(200), floor=320, target=720)
    assert time.process_time() - began < 0.5


def test_density_drops_reach_the_report():
    closes = {f"BINANCE:AA{chr(65 + i)}USDT": walk(i) for i in range(17)}
    skip = [("BINANCE:AACUSDT", d) for d in range(100, 139)] + [("BINANCE:AADUSDT", d) for d in (10, 11, 12)]
    m = judged(bars_of(closes, skip), list(closes))
    assert code_of(m, "BINANCE:AACUSDT") == ["DENSITY_DROP"]
    assert m.frame.height == 397


def test_order_and_the_future_are_irrelevant():
    closes = {f"BINANCE:AA{c}USDT": walk(i, DAYS + 30) for i, c in enumerate("ABCD")}
    full = bars_of(closes)
    past = full.filter(pl.col("date") <= AS_OF)
    base = judged(past, sorted(closes), ["BINANCE:AADUSDT"])
    other = judged(full.sample(fraction=1.0, shuffle=True, seed=3), sorted(closes, reverse=True),
                   ["BINANCE:AADUSDT"])  # fmt: skip
    assert base.frame.equals(other.frame)
    assert (base.drops, base.roles, base.assets) == (other.drops, other.roles, other.assets)
    assert base.frame.schema["date"] == pl.Datetime("ns", "UTC")


def test_real_spot_history_at_the_luna_collapse():
    root = Path(os.environ.get("QUANTCTL_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
    path = root / "binance_spot_daily_2021_2022.parquet"
    if not path.exists():
        pytest.skip("no shared trial data")
    bars = pl.read_parquet(path).with_columns(pl.col("timestamp").dt.date().alias("date"))
    bars = bars.unique(["symbol", "date"], keep="last", maintain_order=True)
    names = bars["symbol"].unique(maintain_order=True).to_list()
    m = judged(bars, names, as_of=date(2022, 7, 15))
    left = set(m.frame.columns)
    assert code_of(m, "BINANCE:LUNAUSDT") == ["TOXIC_RETURN"]
    assert code_of(m, "BINANCE:BTCUPUSDT") == ["LEVERAGED_TOKEN"]
    assert not any(s.endswith("DOWNUSDT") for s in left)
    assert left.isdisjoint({"BINANCE:BUSDUSDT", "BINANCE:USDCUSDT", "BINANCE:TUSDUSDT", "BINANCE:EURUSDT"})
    assert "BINANCE:BTCUSDT" in left and m.frame.null_count().sum_horizontal()[0] == 0
