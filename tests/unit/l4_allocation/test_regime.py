"""The regime detector: calibrated on noise, quick on shocks, one market for both legs; and its gate G9."""

from __future__ import annotations

import math
from collections import Counter
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.regime import RegimeSettings
from quantctl.contracts.stage import Loaded, RunFacts
from quantctl.steps.l2_selection.null_tables import NullTables
from quantctl.steps.l4_allocation import regime as detector
from quantctl.steps.l4_allocation.hmm import HmmReading
from quantctl.steps.l4_allocation.regime import (
    RegimeParams,
    detect_regime,
    market_returns,
    read_regime,
    soft_step,
)
from quantctl.steps.l4_allocation.regime_gate import regime_gate

TABLES = NullTables()
RUN = RunFacts(
    run_id="r1", profile="p", trace_id="0" * 32, pipeline="alpha.full", as_of="2026-01-01", snapshot="s",
    manifest_sha256="0" * 64, annualisation=365, code_version="0.1",
)  # fmt: skip


def params(*, spectral=True, **keys):
    return RegimeParams(
        regime=RegimeSettings(**keys), features=FeaturesSettings(feat_spectral_regimes=spectral)
    )


def read(market, **keys):
    return read_regime(np.asarray(market, dtype=float), TABLES, params(**keys), 365)


def noise(n, seed=7, scale=0.02):
    return np.random.default_rng(seed).standard_normal(n) * scale


def drawn(kind, n, count):
    rng = np.random.default_rng([20260122, n])
    for _ in range(count):
        x = (rng.standard_t(3, n) if kind == "heavy" else rng.standard_normal(n)) * 0.02
        if kind in ("shock", "calm"):
            x[-10:] *= 4.0 if kind == "shock" else 0.4
        yield x


def rates(monkeypatch, kind, n, count=200):
    """Shares of regime labels and of quadrants; the slow HMM is fitted only where it can matter."""
    labels, quadrants = Counter(), Counter()
    for market in drawn(kind, n, count):
        with monkeypatch.context() as patch:
            patch.setattr(detector, "read_hmm", lambda m: HmmReading("NORMAL", False, "HMM_BIC_SINGLE"))
            record = read(market)
        if record.regime in ("NORMAL", "TURBULENT") and record.score > 1.5:
            record = read(market)
        labels[record.regime] += 1 / count
        quadrants[record.quadrant] += 1 / count
    return labels, quadrants


@pytest.mark.slow
@pytest.mark.parametrize("n", [64, 120, 250, 500])
def test_gaussian_noise_reads_normal_at_the_contracted_rate(monkeypatch, n):
    labels, quadrants = rates(monkeypatch, "gauss", n)
    assert labels["NORMAL"] >= 0.90
    assert labels["CRISIS"] <= 0.01
    assert quadrants["NORMAL"] >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize("n", [64, 500])
def test_heavy_tailed_noise_reads_normal_at_its_rate(monkeypatch, n):
    assert rates(monkeypatch, "heavy", n)[0]["NORMAL"] >= 0.80


@pytest.mark.slow
@pytest.mark.parametrize("n", [64, 500])
def test_a_fresh_fourfold_shock_reads_crisis_even_at_the_minimum_row_count(monkeypatch, n):
    assert rates(monkeypatch, "shock", n)[0]["CRISIS"] >= 0.90


@pytest.mark.slow
@pytest.mark.parametrize("n", [64, 500])
def test_a_fall_to_two_fifths_of_the_volatility_reads_quiet(monkeypatch, n):
    assert rates(monkeypatch, "calm", n)[0]["QUIET"] >= 0.85


@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_the_scale_of_noise_above_the_floor_changes_nothing(scale):
    before, after = read(noise(128)), read(noise(128) * scale)
    assert after.score == pytest.approx(before.score, abs=1e-9)
    assert after.regime == before.regime


def test_a_step_is_dead_within_one_sigma_and_saturates_at_four():
    assert [soft_step(z) for z in (-1.0, -0.5, 0.0, 0.9, 1.0)] == [0, 0, 0, 0, 0]
    assert [soft_step(z) for z in (2.5, 4.0, 40.0)] == [0.5, 1.0, 1.0]
    assert [soft_step(z) for z in (-2.5, -4.0)] == [-0.5, -1.0]


def test_the_score_is_one_plus_the_contributions_and_never_negative():
    for seed in range(20):
        record = read(noise(90, seed))
        total = 1 + math.fsum(c.contribution for c in record.components.values())
        assert record.score == pytest.approx(max(0.0, total), abs=1e-12)


def test_a_tail_below_the_absolute_floor_is_quiet_with_its_reason():
    market = noise(128)
    market[-10:] = np.linspace(-1e-4, 1e-4, 10)
    record = read(market)
    assert (record.regime, record.reason) == ("QUIET", "ABS_QUIET")


def test_a_shock_in_the_tail_is_not_labelled_quiet_by_the_floor():
    market = noise(128, scale=1e-5)
    market[-10:] = noise(10, scale=0.05)
    record = read(market)
    assert record.reason is None
    assert record.regime == "CRISIS"


def test_a_flat_baseline_before_a_moving_tail_counts_in_full():
    market = np.zeros(128)
    market[-10:] = noise(10)
    vol = read(market).components["vol"]
    assert (vol.raw, vol.raw_reason, vol.contribution) == (None, "ZERO_BASELINE", 1.0)


def test_a_market_that_never_moves_is_quiet():
    record = read(np.zeros(128))
    assert record.regime == "QUIET"
    assert "REGIME_COMPONENT_UNDEFINED:vol" in record.warnings


@pytest.mark.parametrize("n", [0, 1, 63])
def test_too_few_rows_read_normal_with_a_warning(n):
    record = read(noise(n))
    assert (record.regime, record.score, record.quadrant) == ("NORMAL", 1.0, "NORMAL")
    assert record.warnings == ["REGIME_INSUFFICIENT_DATA"]


def test_the_minimum_row_count_is_enough():
    assert "REGIME_INSUFFICIENT_DATA" not in read(noise(64)).warnings


def test_a_detector_that_is_switched_off_reads_normal():
    assert read(noise(128), enabled=False).warnings == ["REGIME_DISABLED"]


def test_repetition_is_identical():
    market = noise(200)
    assert read(market).model_dump() == read(market.copy()).model_dump()


@pytest.mark.parametrize(("drift", "quadrant"), [(0.01, "EXPANSION"), (-0.01, "STAGNATION"), (0.0, "NORMAL")])
def test_the_quadrant_follows_growth_where_stress_is_low(drift, quadrant):
    flat = noise(200) - noise(200).mean()
    flat[-63:] -= flat[-63:].mean()
    assert read(flat + drift).quadrant == quadrant


def test_a_falling_market_under_stress_is_a_crisis_of_both_labels():
    market = noise(200) - 0.01
    market[-10:] *= 5
    record = read(market)
    assert (record.quadrant, record.regime, record.environment) == ("CRISIS", "CRISIS", "CRISIS")


def test_spectral_evidence_raises_normal_only_where_it_is_switched_on(monkeypatch):
    market = next(m for m in drawn("gauss", 64, 400) if read(m, spectral=False).regime == "NORMAL")
    monkeypatch.setattr(detector, "SPECTRAL_QUANTILE", 0.0)
    assert read(market).regime == "TURBULENT"
    assert read(market, spectral=False).regime == "NORMAL"


def matrix(n=120, columns=8):
    rng = np.random.default_rng(5)
    dates = pl.Series("date", [date(2025, 1, 1) + timedelta(i) for i in range(n)])
    dates = dates.cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    return pl.DataFrame({"date": dates, **{f"X:S{i}": rng.normal(0, 0.02, n) for i in range(columns)}})


def roles(reference, pool):
    found = {f"X:S{i}": ["reference"] for i in reference}
    return found | {f"X:S{i}": [*found.get(f"X:S{i}", []), "pool"] for i in pool}


def test_long_and_short_sleeves_see_one_market():
    frame = matrix()
    long, thin = market_returns(frame, roles(range(6), (0, 1, 6)), 500)
    short, _ = market_returns(frame, roles(range(6), (2, 3, 7)), 500)
    assert not thin
    np.testing.assert_array_equal(long, short)


def test_the_order_of_columns_changes_no_bit():
    frame, table = matrix(), roles(range(6), (6, 7))
    shuffled = frame.select("date", *reversed(frame.columns[1:]))
    np.testing.assert_array_equal(
        market_returns(frame, table, 500)[0], market_returns(shuffled, table, 500)[0]
    )


def test_few_reference_columns_are_joined_by_the_pool():
    market, thin = market_returns(matrix(), roles((0, 1), (2, 3, 4, 5, 6, 7)), 500)
    assert thin
    np.testing.assert_allclose(market, matrix().drop("date").to_numpy().mean(axis=1), rtol=0, atol=1e-15)


def test_only_the_last_rows_are_read():
    assert len(market_returns(matrix(), roles(range(6), ()), 80)[0]) == 80


def test_the_stage_books_a_thin_reference_as_a_warning():
    report = SimpleNamespace(column_roles=roles((0, 1), range(2, 8)))
    outcome = detect_regime(matrix(), report, TABLES, params(), RUN)
    assert outcome.outputs["regime"].warnings[0] == "REGIME_REFERENCE_THIN"
    assert ("WARN", "REGIME_REFERENCE_THIN") in {(f.level, f.code) for f in outcome.findings}


def test_the_stage_tells_of_a_model_that_did_not_converge():
    series = noise(80, seed=9)
    frame = matrix(80).with_columns(pl.Series(f"X:S{i}", series) for i in range(8))
    outcome = detect_regime(frame, SimpleNamespace(column_roles=roles(range(8), ())), TABLES, params(), RUN)
    assert [(f.level, f.code, f.details) for f in outcome.findings] == [
        ("INFO", "HMM_NOT_CONVERGED", {"n": 80})
    ]
    assert (outcome.outputs["regime"].hmm.accepted, outcome.outputs["regime"].hmm.state) == (False, "NORMAL")


def test_later_bars_change_no_earlier_reading():
    frame, table = matrix(200), roles(range(6), ())
    early = market_returns(frame.head(120), table, 500)[0]
    late = market_returns(frame, table, 500)[0][:120]
    np.testing.assert_array_equal(early, late)


def judged(body):
    return regime_gate(Loaded("regime", "data/regime.json", body, problem=None if body else "missing"))


def record(**edits):
    return read(noise(128)).model_dump() | edits


def codes(judgement):
    return [finding.code for finding in judgement.findings]


def test_the_gate_passes_what_the_detector_wrote():
    judgement = judged(record())
    assert codes(judgement) == []
    assert judgement.checked == {"records": 1, "components": 6, "rows": 128}


def test_the_gate_passes_a_reading_without_data():
    assert codes(judged(read(noise(3)).model_dump())) == []


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        ({"regime": "PANIC"}, "REGIME_PARSE"),
        ({"quadrant": "BOOM"}, "REGIME_PARSE"),
        ({"score": float("nan")}, "REGIME_PARSE"),
        ({"score": float("inf")}, "REGIME_PARSE"),
        ({"score": -0.1}, "REGIME_PARSE"),
        ({"note": "x"}, "REGIME_PARSE"),
        ({"score": 3.0}, "REGIME_SCORE_INVALID"),
        ({"environment": "CRISIS"}, "REGIME_LABEL_INVALID"),
    ],
)
def test_the_gate_names_what_is_wrong(edit, code):
    assert codes(judged(record(**edit))) == [code]


def test_a_missing_record_is_an_error_of_the_gate():
    assert codes(judged(None)) == ["REGIME_PARSE"]
