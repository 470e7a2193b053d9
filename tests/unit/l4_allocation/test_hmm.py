"""The hidden Markov model: it accepts persistent volatility, and refuses noise, fat tails and constants."""

from __future__ import annotations

import numpy as np
import pytest

from quantctl.steps.l4_allocation import hmm
from quantctl.steps.l4_allocation.hmm import read_hmm


def normal(seed, n=120, scale=0.02):
    return np.random.default_rng(seed).standard_normal(n) * scale


def heavy(seed, n=120):
    return np.random.default_rng(seed).standard_t(3, n) * 0.02


def quarter(seed, *, late, n=120):
    """Threefold volatility in the last or the first quarter."""
    market = normal(seed, n)
    market[-(n // 4) :] *= 3.0 if late else 1.0
    market[: n // 4] *= 1.0 if late else 3.0
    return market


@pytest.mark.parametrize(
    ("market", "reason"),
    [
        (np.zeros(120), "HMM_CONSTANT"),
        (np.full(120, 0.01), "HMM_CONSTANT"),
        (normal(1, 39), "HMM_TOO_SHORT"),
        (np.empty(0), "HMM_TOO_SHORT"),
    ],
)
def test_what_cannot_be_fitted_is_normal_with_its_reason(market, reason):
    reading = read_hmm(market)
    assert (reading.state, reading.accepted, reading.reason) == ("NORMAL", False, reason)


def test_a_single_jump_in_a_flat_series_is_not_accepted():
    market = np.zeros(120)
    market[60] = 0.1
    assert not read_hmm(market).accepted


@pytest.mark.parametrize("seed", [5, 16, 22])
def test_a_fit_that_still_gains_after_all_iterations_is_not_accepted(seed, monkeypatch):
    market = normal(seed, 60)
    reading = read_hmm(market)
    assert (reading.state, reading.accepted, reading.reason) == ("NORMAL", False, "HMM_NOT_CONVERGED")
    monkeypatch.setattr(hmm, "MAX_ITERATIONS", 100_000)
    assert read_hmm(market).reason != "HMM_NOT_CONVERGED"


@pytest.mark.parametrize("draw", [normal, heavy])
def test_noise_is_not_accepted(draw):
    assert not any(read_hmm(draw(seed, 80)).accepted for seed in range(8))


def test_a_late_storm_is_a_crisis_and_an_early_one_quiet():
    late, early = read_hmm(quarter(3, late=True)), read_hmm(quarter(3, late=False))
    assert (late.state, early.state) == ("CRISIS", "QUIET")
    assert late.accepted
    assert late.sigma_hi / late.sigma_lo >= 1.5
    assert min(late.trans[0][0], late.trans[1][1]) >= 0.8
    assert late.bic_hmm < late.bic1 - 6
    assert late.bic_hmm < late.bic_mix - 2


def test_repetition_and_sign_change_nothing():
    market = quarter(4, late=True)
    assert read_hmm(market) == read_hmm(market.copy())
    mirrored = read_hmm(-market)
    assert mirrored.state == read_hmm(market).state
    assert mirrored.p_hi == pytest.approx(read_hmm(market).p_hi, abs=1e-9)


def test_scale_changes_only_the_sigmas():
    market = quarter(5, late=True)
    small, large = read_hmm(market), read_hmm(market * 10)
    assert large.p_hi == pytest.approx(small.p_hi, abs=1e-6)
    assert large.sigma_hi == pytest.approx(10 * small.sigma_hi, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_transition_rows_sum_to_one_and_states_are_ordered(seed):
    reading = read_hmm(quarter(seed, late=True))
    assert [sum(row) for row in reading.trans] == pytest.approx([1.0, 1.0])
    assert reading.sigma_lo <= reading.sigma_hi
    assert 0.0 <= reading.p_hi <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("draw", [normal, heavy])
def test_iid_noise_is_accepted_in_at_most_one_percent_of_draws(draw):
    assert sum(read_hmm(draw(seed)).accepted for seed in range(200)) <= 2


@pytest.mark.slow
@pytest.mark.parametrize(("late", "state"), [(True, "CRISIS"), (False, "QUIET")])
def test_a_quarter_at_threefold_volatility_is_recognised(late, state):
    found = [read_hmm(quarter(seed, late=late)).state for seed in range(100)]
    assert found.count(state) >= 85
