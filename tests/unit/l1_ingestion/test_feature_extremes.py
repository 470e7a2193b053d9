"""Awkward markets: jumps, ticks, pegs, gaps, flat prices, extreme scales and very short lives."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.ratings import RatingsSettings
from quantctl.steps.l1_ingestion.feature_store import AUXILIARY, CANONICAL, compute_features
from quantctl.steps.l1_ingestion.moments import expanding, location, shape, tails
from quantctl.steps.l1_ingestion.smoothing import centred, ema, rma, rolled, sma, steady, wma

Floats = NDArray[np.float64]
RNG = np.random.default_rng(5)


def _bars(symbol: str, close: Floats, missing: tuple[int, ...] = ()) -> pl.DataFrame:
    rows = len(close)
    rng = np.random.default_rng(rows)
    shown = [None if i in missing else float(c) for i, c in enumerate(close)]
    return pl.DataFrame(
        {
            "symbol": [symbol] * rows,
            "date": [date(2022, 1, 1) + timedelta(i) for i in range(rows)],
            "high": close * (1 + 0.01 * rng.random(rows)),
            "low": close * (1 - 0.01 * rng.random(rows)),
            "close": pl.Series(shown, dtype=pl.Float64),
            "volume": rng.uniform(1, 9, rows),
            "quote_volume": close * 5,
            "provenance": ["venue"] * rows,
            "known_at": [datetime(2022, 1, 2, tzinfo=UTC) + timedelta(i) for i in range(rows)],
        }
    )


def _walk(rows: int, sd: float) -> Floats:
    return np.asarray(100 * np.exp(np.cumsum(RNG.normal(0, sd, rows))))


def _jumping() -> Floats:
    close = _walk(460, 0.03)
    close[300:] *= 2.7
    close[400:] *= 3
    return close


MARKET = {
    "X:JUMP": _bars("X:JUMP", _jumping()),
    "X:TICK": _bars("X:TICK", np.round(_walk(400, 0.02) / 5) * 5),
    "X:FLAT": _bars("X:FLAT", np.full(330, 3.3)),
    "X:TREND": _bars("X:TREND", 1e-3 * 1.01 ** np.arange(420)),
    "X:PEG": _bars("X:PEG", 1 + 1e-4 * RNG.normal(size=330)),
    "X:GAP": _bars("X:GAP", _walk(430, 0.02) * 1e-9, missing=(200, 201, 333)),
    "X:ONE": _bars("X:ONE", _walk(1, 0.1)),
    "X:HALT": _bars("X:HALT", np.concatenate([_walk(100, 0.05), np.full(150, 7.0), _walk(150, 0.05)])),
}


def _rows(bars: pl.DataFrame) -> pl.DataFrame:
    annual = dict.fromkeys(bars["symbol"].unique(maintain_order=True).to_list(), 365)
    return compute_features(bars, annual, {}, FeaturesSettings(), RatingsSettings())


@pytest.fixture(scope="module")
def together() -> pl.DataFrame:
    return _rows(pl.concat(MARKET.values()))


@pytest.mark.parametrize("symbol", MARKET)
def test_rows_are_those_of_the_bars_up_to_their_date_alone(together: pl.DataFrame, symbol: str) -> None:
    own = together.filter(pl.col("symbol") == symbol)
    for bars in (1, 2, 9, 60, 61, 62, 81, 101, 121, 122, 201, 241, 253, 254, 301, 302, 335, 361, 401):
        if bars <= own.height:
            assert _rows(MARKET[symbol].head(bars)).equals(own.head(bars)), bars


def test_no_number_is_infinite_or_nan(together: pl.DataFrame) -> None:
    for name in CANONICAL + AUXILIARY:
        assert together[name].drop_nulls().is_finite().all(), name


def test_flat_prices_leave_ratios_undefined_and_spread_zero(together: pl.DataFrame) -> None:
    last = together.filter(pl.col("symbol") == "X:HALT").row(249, named=True)
    for name in ("skew", "kurtosis", "hurst", "ac_1"):
        assert last[name] is None, name
    assert (last["bb_width_20"], last["efficiency"], last["vol_30"], last["turbulence"]) == (0, 0, 0, 0.5)


def test_a_missing_close_restarts_the_averages(together: pl.DataFrame) -> None:
    line = together.filter(pl.col("symbol") == "X:GAP")["ema_10"].is_null().to_list()
    assert [i for i, null in enumerate(line) if null] == [*range(9), *range(200, 211), *range(333, 343)]


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e5])
def test_scale_of_price_changes_only_what_is_in_price_units(scale: float) -> None:
    close = _walk(300, 0.02)
    one, other = _rows(_bars("X:A", close)), _rows(_bars("X:A", close * scale))
    for name in ("recommend_all", "rsi_14", "adx_14", "cci", "uo", "stoch_k", "skew", "cvar", "hurst"):
        a, b = one[name].to_numpy(), other[name].to_numpy()
        assert np.allclose(a, b, rtol=1e-6, atol=1e-7, equal_nan=True), name
    assert np.allclose(one["sma_200"].to_numpy() * scale, other["sma_200"].to_numpy(), equal_nan=True)


def test_short_stream_loses_at_most_everything_in_a_day() -> None:
    bars = MARKET["X:JUMP"]
    r = np.diff(bars["close"].to_numpy()) / bars["close"].to_numpy()[:-1]
    assert (r > 1).sum() == 2
    found = _rows(bars)
    s = -np.minimum(r, 1.0)
    for t in (310, 420, 459):
        year, window = s[max(0, t - 252) : t], s[t - 120 : t]
        assert found["momentum_s"][t] == pytest.approx(year.mean() * 365, rel=1e-12)
        assert found["stability_s"][t] == pytest.approx(1 / (year.std(ddof=1) * 365**0.5 + 1e-9), rel=1e-12)
        assert found["cvar_s"][t] == pytest.approx(window[window <= np.quantile(window, 0.05)].mean())
        assert found["upper_tail_s"][t] == pytest.approx(window[window > np.quantile(window, 0.95)].mean())
        assert found["mom_60_s"][t] == pytest.approx(np.prod(1 + s[t - 60 : t]) - 1)
    assert found["mom_60_s"][320] == -1.0


@pytest.mark.parametrize("symbol", ["X:JUMP", "X:TICK", "X:TREND", "X:PEG"])
def test_moments_and_tails_equal_their_definition(symbol: str) -> None:
    close = MARKET[symbol]["close"].to_numpy()
    r = (close[1:] / close[:-1] - 1)[None]
    sums = expanding(r, 120)[120], expanding(r * r, 120)[120]
    mean, variance = location(r, *sums, 120, 60)
    skew, kurtosis = shape(r, *sums, 120, 60)
    lower, upper, strict, whole = tails(r, 120, 60)
    for t in (59, 60, 61, 80, 100, 119, 120, 200, 239, 240, 300, 328):
        x = r[0, max(0, t - 119) : t + 1]
        off, (low, high) = x - x.mean(), np.quantile(x, (0.05, 0.95))
        power = [(off**k).mean() for k in (2, 3, 4)]
        found = (mean, variance, lower, upper)
        expected = (
            x.mean(),
            power[0],
            x[x <= low].mean(),
            x[x > high].mean() if (x > high).any() else np.nan,
        )
        assert np.allclose([v[0, t] for v in found], expected, rtol=1e-9, atol=1e-16, equal_nan=True), t
        if power[0] > 1e-20:
            assert skew[0, t] == pytest.approx(power[1] / power[0] ** 1.5, rel=1e-9, abs=1e-9)
            assert kurtosis[0, t] == pytest.approx(power[2] / power[0] ** 2 - 3, rel=1e-9, abs=1e-9)
        assert whole[0, t] == pytest.approx(x[x >= high].mean(), rel=1e-12)
        if (x < low).any():
            assert strict[0, t] == pytest.approx(x[x < low].mean(), rel=1e-12)


def test_smoothing_kernels_equal_their_definition() -> None:
    x = np.stack([_walk(90, 0.05), _walk(90, 0.05) * 1e-7])
    for n in (1, 3, 7, 20, 64):
        part = np.lib.stride_tricks.sliding_window_view(x, n, axis=1)
        assert np.allclose(sma(x, n)[:, n - 1 :], part.mean(axis=2), rtol=1e-14)
        weights = np.arange(1.0, n + 1)
        assert np.allclose(wma(x, n)[:, n - 1 :], (part * weights).sum(axis=2) / weights.sum(), rtol=1e-13)
        assert np.array_equal(rolled(x, n, np.maximum)[:, n - 1 :], part.max(axis=2))
        assert np.allclose(centred(x, n)[1][:, n - 1 :], n * part.var(axis=2), rtol=1e-9, atol=1e-30)
        for line, alpha in ((ema(x, n), 2 / (n + 1)), (rma(x, n), 1 / n)):
            value = x[:, :n].mean(axis=1)
            for t in range(n, 90):
                value = value + alpha * (x[:, t] - value)
            assert np.allclose(line[:, -1], value, rtol=1e-13)
            assert np.isnan(line[:, : n - 1]).all()


def test_steady_marks_runs_of_equal_values() -> None:
    x = np.array([[1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, np.nan, 2.0]])
    found = steady(x, (3, 4))
    assert np.flatnonzero(found[3]).tolist() == [2, 5, 6] and np.flatnonzero(found[4]).tolist() == [6]
