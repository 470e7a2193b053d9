"""The shipped profiles say what the specification's table says."""

from __future__ import annotations

import pytest

from quantctl.contracts.settings import Settings
from quantctl.profile_files import SHIPPED, Shelf
from quantctl.settings import resolve

SLEEVES = (
    "binance_spot_rating_all_long", "binance_spot_rating_all_short", "binance_spot_rating_all_neutral",
    "binance_perp_rating_all_long", "binance_perp_rating_all_short", "binance_perp_rating_all_neutral",
    "binance_spot_rating_ma_long", "binance_spot_rating_ma_short",
)  # fmt: skip
OTHERS = ("defaults", "development", "binance_spot_imported", "binance_perp_imported")


def settings_of(name: str) -> Settings:
    return resolve(name, env={}, dotenv={}).settings


def test_these_profiles_are_shipped() -> None:
    assert set(Shelf(SHIPPED).names()) == {*SLEEVES, *OTHERS}


@pytest.mark.parametrize("name", [*SLEEVES, *OTHERS])
def test_every_profile_has_a_sentence(name: str) -> None:
    assert Shelf(SHIPPED).profile(name).description.endswith(".")


@pytest.mark.parametrize("name", [*SLEEVES, "development"])
def test_a_sleeve_has_the_shared_values(name: str) -> None:
    s = settings_of(name)
    assert (s.data.lookback_days, s.data.min_days_floor) == (500, 252)
    assert (s.backtest.slippage, s.backtest.commission) == (0.001, 0.0004)
    assert (s.backtest.train_window, s.backtest.test_window, s.backtest.step_size) == (252, 10, 10)
    assert s.features.entropy_max_threshold == 0.999
    assert s.selection.clusters.threshold == s.allocation.clusters.threshold == 0.45
    assert s.selection.top_n == 15
    assert s.selection.filters == ("darwinian", "predictability", "friction")
    assert s.features.selection_mode == "v4"
    assert not s.features.feat_dynamic_selection
    assert s.features.feat_directional_sign_test_gate_atomic
    assert s.data.strict is (name != "development")
    assert s.allocation.engine == "native"
    assert not s.backtest.enabled
    assert s.data.calendars["BINANCE"] == "24x7"


@pytest.mark.parametrize("name", SLEEVES)
def test_direction_scanner_and_benchmark_fit_the_name(name: str) -> None:
    s = settings_of(name)
    market, leg = name.split("_")[1], name.rsplit("_", 1)[1]
    direction = {"long": "LONG", "short": "SHORT", "neutral": "MIXED"}[leg]
    assert s.sleeve.direction == direction
    assert s.features.feat_short_direction is (direction != "LONG")
    base = name.rsplit("_", 1)[0]
    legs = ("long", "short") if direction == "MIXED" else (leg,)
    assert s.discovery.scanners == tuple(f"{base}_{one}" for one in legs)
    suffix = ".P" if market == "perp" else ""
    assert s.backtest.benchmark_symbols == (f"BINANCE:BTCUSDT{suffix}",)
    floor = 5e7 if market == "perp" else 1e6
    assert s.universe.current_bar_min == floor
    assert s.universe.daily_turnover_min == (5e7 if market == "perp" else 1e7)
    assert s.universe.volatility_d_min == (1 if market == "perp" else 0.1)
    assert not s.universe.accept_inferred_metadata


def test_ma_sleeves_are_dominated_by_their_signal() -> None:
    for leg, order in (("long", "descending"), ("short", "ascending")):
        s = settings_of(f"binance_spot_rating_ma_{leg}")
        assert (s.features.dominant_signal, s.features.dominant_signal_weight) == ("recommend_ma", 3.0)
        assert s.ranking.direction == order


def test_neutral_sleeves_show_the_beta_row() -> None:
    for market in ("spot", "perp"):
        s = settings_of(f"binance_{market}_rating_all_neutral")
        assert s.allocation.beta.apply_to == ("market_neutral", "max_sharpe")
        assert {"market_neutral", "max_sharpe"} <= set(s.allocation.risk_profiles)


def test_development_solves_three_risk_profiles() -> None:
    assert settings_of("development").allocation.risk_profiles == ("hrp", "erc", "equal_weight")


def test_imported_profiles_are_mixins(tmp_path: object) -> None:
    for market in ("spot", "perp"):
        s = settings_of(f"binance_{market}_imported")
        assert s.universe.accept_inferred_metadata
        assert s.data.strict
    file = tmp_path / "trial.yaml"  # type: ignore[operator]
    file.write_text("extends: [binance_spot_rating_all_long, binance_spot_imported]\n")
    trial = resolve("trial", env={}, dotenv={}, profiles_dir=tmp_path).settings  # type: ignore[arg-type]
    long = settings_of("binance_spot_rating_all_long")
    assert trial.universe == long.universe.model_copy(update={"accept_inferred_metadata": True})
    assert trial.model_copy(update={"universe": long.universe}) == long
