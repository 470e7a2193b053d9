"""Probabilities and scores against values worked out by hand."""

from __future__ import annotations

from math import erf, exp, log, sqrt
from typing import Any

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.frames.features import FEATURES
from quantctl.contracts.frames.selection import NullCalibration, Scores
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.htr import HtrSettings
from quantctl.contracts.settings.mps import MpsSettings
from quantctl.contracts.settings.ranking import RankingSettings
from quantctl.contracts.settings.selection import LiquidityReference, SelectionSettings
from quantctl.contracts.stage import Outcome
from quantctl.steps.l2_selection.candidates import Candidates
from quantctl.steps.l2_selection.engines import ENGINES, weights_of
from quantctl.steps.l2_selection.inference import InferenceParams, infer
from quantctl.steps.l2_selection.null_tables import NullTables
from quantctl.steps.l2_selection.probability import Method, average_ranks, probability
from quantctl.steps.l2_selection.scoring import Scored, hurst_signal, score, survival_score

NAN = float("nan")
MU0 = 0.6


def phi(z: float) -> float:
    return 0.5 * (1 + erf(z / sqrt(2)))


def frame(rows: int = 12, directions: list[str] | None = None, **columns: Any) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    values: dict[str, Any] = {name: rng.uniform(0.1, 0.9, rows) for name in FEATURES}
    values |= {"adv_30": rng.uniform(1e6, 2e7, rows), "n_bars": rng.uniform(300, 800, rows)}
    values |= {name: rng.normal(0, 1, rows) for name in ("momentum", "skew", "kurtosis", "cvar")}
    return pl.DataFrame(
        {
            "atom": [f"BINANCE:A{i:02d}USDT_trend_LONG" for i in range(rows)],
            "symbol": [f"BINANCE:A{i:02d}USDT" for i in range(rows)],
            "direction": directions or ["LONG"] * rows,
            "asset_type": ["spot"] * rows,
            "n_obs_120": pl.Series([120] * rows, dtype=pl.Int32),
            "n_obs_252": pl.Series([252] * rows, dtype=pl.Int32),
            "annualisation": pl.Series([365] * rows, dtype=pl.Int32),
            **(values | columns),
        }
    )


def scored(table: pl.DataFrame, mode: str = "v4") -> Scored:
    engine = ENGINES[mode]
    weights = weights_of(engine, MpsSettings(), FeaturesSettings())
    return score(Candidates.of(table), engine, weights, LiquidityReference(), lambda n: MU0)


def inferred(table: pl.DataFrame, **features: Any) -> Outcome:
    params = InferenceParams(
        features=FeaturesSettings(**features), selection=SelectionSettings(), htr=HtrSettings(),
        ranking=RankingSettings(), mps=MpsSettings(),
    )  # fmt: skip
    return infer(table, NullTables(), params)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("rank", [0.01, 0.505, 1.0]),
        ("rank_desc", [1.0, 0.505, 0.01]),
        ("logistic", [1 / (1 + exp(1)), 0.5, 1 / (1 + exp(-1))]),
        ("zscore", [2 / 6, 0.5, 4 / 6]),
        ("minmax", [0.0, 0.5, 1.0]),
        ("cdf", [phi(-1), 0.5, phi(1)]),
    ],
)
def test_mapping_equals_the_value_by_hand(method: Method, expected: list[float]) -> None:
    assert probability(np.array([1.0, 2.0, 3.0]), method, "real") == pytest.approx(expected, abs=1e-8)


def test_cdf_of_a_share_is_the_share_itself() -> None:
    assert probability(np.array([0.0, 0.3, 1.0, 7.0]), "cdf", "unit01").tolist() == [0.001, 0.3, 1.0, 1.0]


def test_ties_share_their_mean_rank() -> None:
    assert average_ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


@pytest.mark.parametrize("method", ["rank", "rank_desc", "logistic", "zscore", "minmax", "cdf"])
def test_undefined_and_lonely_values_are_neutral(method: Method) -> None:
    assert probability(np.array([NAN, 4.0]), method, "real").tolist() == [0.5, 0.5]
    assert probability(np.array([NAN, NAN]), method, "real").tolist() == [0.5, 0.5]
    assert probability(np.full(3, 2.0), method, "real") == pytest.approx(
        [0.505] * 3 if method.startswith("rank") else [0.5] * 3
    )


def test_nan_does_not_move_the_ranks_of_others() -> None:
    assert probability(np.array([1.0, NAN, 2.0, 3.0]), "rank", "real").tolist() == [0.01, 0.5, 0.505, 1.0]


def test_an_outlier_does_not_switch_the_branch_of_a_share() -> None:
    calm = frame()
    wild = calm.with_columns(efficiency=pl.Series([1.7, *calm["efficiency"][1:].to_list()]))
    one, two = scored(calm), scored(wild)
    assert one.prob["efficiency"][1:].tolist() == two.prob["efficiency"][1:].tolist()
    assert one.alpha_score[1:].tolist() == two.alpha_score[1:].tolist()


def test_survival_and_hurst_signal_by_hand() -> None:
    survival = survival_score(np.array([252.0, 504.0]), np.array([0.1, 0.0]), np.array([1.0, 0.0]))
    assert survival == pytest.approx([0.5 * 0.9, 0.8 * 0.01])
    signal = hurst_signal(np.array([0.6, 0.8, 0.4, NAN]), np.full(4, 120.0), lambda n: MU0)
    assert signal[:3] == pytest.approx([0.0, 0.4, 0.4]) and np.isnan(signal[3])


def test_hurst_means_are_not_asked_for_where_hurst_is_undefined() -> None:
    def refuse(n: int) -> float:
        raise AssertionError(n)

    assert np.isnan(hurst_signal(np.array([NAN]), np.array([10.0]), refuse)).all()


def test_score_equals_the_formula_by_hand() -> None:
    result = scored(frame())
    weights = weights_of(ENGINES["v4"], MpsSettings(), FeaturesSettings())
    by_hand = [
        sum(weights[name] * log(max(float(result.prob[name][row]), 1e-9)) for name in weights)
        for row in range(12)
    ]
    assert result.log_score == pytest.approx(by_hand, rel=1e-12)
    assert result.alpha_score == pytest.approx([exp(value) for value in by_hand], rel=1e-12)
    assert result.n_scored == 14  # recommend_other has weight 0
    assert ((result.alpha_score > 0) & (result.alpha_score <= 1)).all()


def test_fragility_lowers_the_score_of_v34_only() -> None:
    table = frame()
    result = scored(table, "v3.4")
    weights = weights_of(ENGINES["v3.4"], MpsSettings(), FeaturesSettings())
    fragile, cvar = result.raw["antifragility"], np.abs(table["cvar"].to_numpy())
    level = (1 - fragile / fragile.max()) + cvar / cvar.max()
    factor = 0.5 * level / level.max()
    plain = sum(weights[name] * np.log(np.maximum(result.prob[name], 1e-9)) for name in weights)
    assert result.log_score == pytest.approx(plain + np.log(1 - factor), rel=1e-12)
    assert "fragility" not in scored(table).raw


def test_unrelated_columns_change_nothing() -> None:
    table = frame()
    more = table.with_columns(
        rsi_14=pl.lit(50.0), volume_z=pl.lit(9.0), turbulence=pl.lit(0.9), note=pl.lit("x")
    )
    assert scored(table).alpha_score.tolist() == scored(more).alpha_score.tolist()


def test_row_order_changes_nothing() -> None:
    assert scored(frame()).alpha_score.tolist() == scored(frame().reverse()).alpha_score.tolist()


def test_legs_are_scored_apart() -> None:
    mixed = frame(12, ["LONG"] * 6 + ["SHORT"] * 6)
    alone = scored(mixed.head(6)).alpha_score
    assert scored(mixed).alpha_score[:6].tolist() == alone.tolist()


def test_undefined_metrics_are_counted_and_neutral() -> None:
    table = frame().with_columns(
        adx_14=pl.Series([None, *[20.0] * 11], dtype=pl.Float64), kurtosis=pl.lit(None, pl.Float64)
    )
    result = scored(table)
    assert result.n_neutral.tolist() == [2] + [1] * 11
    assert result.prob["adx_14"][0] == 0.5 and (result.prob["kurtosis"] == 0.5).all()


def test_worse_liquidity_never_helps_either_leg() -> None:
    for leg in ("LONG", "SHORT"):
        table = frame(12, [leg] * 12)
        poorer = table.with_columns(adv_30=pl.Series([1e4, *table["adv_30"][1:].to_list()]))
        assert scored(poorer).alpha_score[0] < scored(table).alpha_score[0]


def test_dominant_signal_takes_its_weight_and_damps_momentum() -> None:
    weights = weights_of(ENGINES["v4"], MpsSettings(), FeaturesSettings(dominant_signal="recommend_ma"))
    assert (weights["recommend_ma"], weights["momentum"]) == (3.0, 0.5)


def test_signal_the_engine_does_not_score_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        weights_of(ENGINES["v3.4"], MpsSettings(), FeaturesSettings(dominant_signal="recommend_ma"))
    assert caught.value.code == "SIGNAL_UNKNOWN" and caught.value.exit_code == 2


def test_the_stage_writes_scores_and_null_rows_that_meet_their_contracts() -> None:
    outcome = inferred(frame())
    scores = outcome.outputs["selection_scores"]
    Scores.validate(scores, lazy=True)
    NullCalibration.validate(outcome.outputs["null_calibration"], lazy=True)
    assert scores["rank_score"].to_list() == scores["alpha_score"].to_list()
    assert outcome.outputs["null_calibration"]["metric"].to_list() == ["hurst", "pe5"]


def test_threshold_that_cannot_act_is_announced_and_may_be_forbidden() -> None:
    findings = inferred(frame(), entropy_max_threshold=0.999).findings
    assert {"entropy", "entropy_hard_stop"} <= {
        f.details["metric"] for f in findings if f.code == "THRESHOLD_UNREACHABLE" and f.level == "INFO"
    }
    with pytest.raises(ConfigError) as caught:
        inferred(frame(), entropy_max_threshold=0.999, require_reachable_thresholds=True)
    assert caught.value.code == "THRESHOLD_UNREACHABLE" and caught.value.exit_code == 2


def test_metrics_that_order_alike_are_reported() -> None:
    table = frame()
    outcome = inferred(table.with_columns(recommend_ma=pl.col("momentum").rank() / 20))
    pairs = {
        (f.details["left"], f.details["right"]) for f in outcome.findings if f.code == "SIGNAL_COLLINEAR"
    }
    assert ("momentum", "recommend_ma") in pairs
