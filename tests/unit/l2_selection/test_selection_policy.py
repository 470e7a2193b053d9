"""The decision: filters, percentile cut, ladder, cap, and the account of every candidate."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.codes import CODES
from quantctl.contracts.errors import ContractError
from quantctl.contracts.frames.features import FeatureFrame
from quantctl.contracts.frames.selection import Scores
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.htr import HtrSettings
from quantctl.contracts.settings.ranking import RankingSettings
from quantctl.contracts.settings.selection import SelectionSettings
from quantctl.steps.l2_selection.candidates import Candidates
from quantctl.steps.l2_selection.decision import PolicyParams, choose
from quantctl.steps.l2_selection.filters.friction import friction, hurdle
from quantctl.steps.l2_selection.filters.veto import HARD_FEATURES, veto_class


def spoil(world: Any, name: str, rows: list[int], value: float | None) -> Any:
    values = world.store[name].to_list()
    for row in rows:
        values[row] = value
    return world.with_column(name, values)


def codes_of(result: Any, atom_start: str) -> list[str]:
    return [v.code for atom, rows in result.audit.vetoes.items() if atom.startswith(atom_start) for v in rows]


def test_a_clean_pool_stops_at_the_strict_rung_and_keeps_the_best_twenty_five(
    selection: SimpleNamespace,
) -> None:
    result = selection.run(selection.make(40))
    FeatureFrame.validate(result.features)
    Scores.validate(result.scores)
    assert result.audit.relaxation_stage == 1
    assert [attempt.n_winners for attempt in result.audit.stages] == [30]
    assert len(result.atoms) == 25
    assert {v.code for rows in result.audit.vetoes.values() for v in rows} == {"WINNER_CAP", "NOT_RECRUITED"}
    worst = max(winner.rank for winner in result.winners.winners)
    capped = [rows[0].value for rows in result.audit.vetoes.values() if rows[0].code == "WINNER_CAP"]
    assert min(capped) > worst


def test_forced_and_free_ladders_stop_at_one_two_three(selection: SimpleNamespace) -> None:
    clean = selection.make(40)
    noisy = spoil(clean, "efficiency", list(range(30)), 0.045)  # between 0.8 of the limit and the limit
    hopeless = spoil(clean, "efficiency", [i for i in range(40) if i % 4 or i > 19], 0.01)
    assert selection.run(clean).audit.relaxation_stage == 1
    assert selection.run(noisy).audit.relaxation_stage == 2
    wide = hopeless.__class__(**{**hopeless.__dict__, "group": 2})
    assert selection.run(wide).audit.relaxation_stage == 3
    for rung in (1, 2, 3, 4):
        forced = selection.run(wide.with_settings("htr", relaxation_stage=rung)).audit
        assert (forced.relaxation_stage, forced.forced, len(forced.stages)) == (rung, True, 1)


def test_rungs_three_and_four_contain_the_recruits_of_rung_two(selection: SimpleNamespace) -> None:
    world = spoil(selection.make(40), "hurst", list(range(4, 40)), 0.5).with_settings("htr", floor=15)
    atoms = {
        rung: selection.run(world.with_settings("htr", relaxation_stage=rung)).atoms for rung in (1, 2, 3, 4)
    }
    assert atoms[1] <= atoms[2] < atoms[3] < atoms[4]
    assert len(atoms[4]) == 15
    final = selection.run(world)
    assert final.audit.relaxation_stage == 4
    notes = {winner.note for winner in final.winners.winners}
    assert notes == {None, "cluster_floor", "alpha_fallback"}
    assert all(w.waived == ["HURST_RANDOM_WALK"] for w in final.winners.winners if w.note)
    assert all(not w.waived for w in final.winners.winners if not w.note)


@pytest.mark.parametrize(
    ("count", "level"), [(14, "SCARCE"), (5, "SCARCE"), (4, "ULTRA_SPARSE"), (1, "ULTRA_SPARSE")]
)
def test_a_small_pool_ends_at_four_with_typed_scarcity(
    selection: SimpleNamespace, count: int, level: str
) -> None:
    result = selection.run(selection.make(count))
    assert result.audit.relaxation_stage == 4
    assert result.audit.scarcity is not None
    assert (result.audit.scarcity.level, result.audit.scarcity.n) == (level, count)
    assert len(result.atoms) == count
    assert [f.details["level"] for f in result.findings if f.code == "SCARCITY"] == [level]
    assert result.audit.gate.status == "PASS"


@pytest.mark.parametrize("rung", [None, 1, 2, 3, 4])
def test_without_structural_metadata_no_rung_admits_anyone(
    selection: SimpleNamespace, rung: int | None
) -> None:
    world = selection.make(40)
    bare = world.__class__(**{**world.__dict__, "structural": False})
    result = selection.run(bare.with_settings("htr", relaxation_stage=rung))
    assert not result.atoms
    assert all([v.code for v in rows] == ["METADATA_INCOMPLETE"] for rows in result.audit.vetoes.values())
    assert (result.audit.gate.status, result.audit.gate.code) == ("FAIL", "SELECTION_EMPTY")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("entropy", 0.9999, "TOXIC_ENTROPY"), ("entropy", None, "FEATURE_MISSING:entropy"),
        ("regime_survival", 0.05, "SURVIVAL_FAILED"), ("adv_30", 0.0, "LIQUIDITY_UNKNOWN"),
        ("adv_30", None, "LIQUIDITY_UNKNOWN"), ("regime_survival", None, "FEATURE_MISSING:regime_survival"),
    ],
)  # fmt: skip
def test_a_hard_veto_is_never_relaxed(
    selection: SimpleNamespace, name: str, value: float | None, code: str
) -> None:
    world = spoil(selection.make(14), name, [3], value)
    result = selection.run(world)
    assert result.audit.relaxation_stage == 4
    assert code in codes_of(result, "BINANCE:C003")
    assert len(result.atoms) == 13
    assert veto_class(code) == "HARD"
    assert CODES[code.partition(":")[0]].exit is None


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("entropy", 0.97, "ENTROPY_HIGH"), ("efficiency", 0.01, "EFFICIENCY_LOW"),
        ("hurst", 0.5, "HURST_RANDOM_WALK"), ("hurst", None, "FEATURE_MISSING:hurst"),
        ("kurtosis", 21.0, "TAIL_EXTREME"), ("stability", 0.3, "VOL_EXTREME"),
        ("roc_9", 101.0, "ROC_EXTREME"), ("roc_9", -81.0, "ROC_EXTREME"), ("volume_z", 10.5, "VOLUME_SPIKE"),
        ("momentum", -0.2, "FRICTION"), ("momentum", -0.2, "TOXIC_PERSISTENCE"),
    ],
)  # fmt: skip
def test_a_soft_veto_bars_rung_one_and_yields_to_rung_four(
    selection: SimpleNamespace, name: str, value: float | None, code: str
) -> None:
    world = spoil(selection.make(14), name, [3], value)
    strict = selection.run(world.with_settings("htr", relaxation_stage=1))
    assert code in codes_of(strict, "BINANCE:C003")
    (winner,) = [w for w in selection.run(world).winners.winners if w.symbol == "BINANCE:C003USDT"]
    assert code in winner.waived
    assert CODES[code.partition(":")[0]].exit is None
    assert all(veto_class(waived) == "SOFT" for waived in winner.waived)


def test_a_stale_or_sparse_candidate_is_barred(selection: SimpleNamespace) -> None:
    world = selection.make(14)
    old = world.store.with_columns(
        pl.when(pl.col("symbol") == "BINANCE:C003USDT").then(pl.lit(selection.as_of).dt.offset_by("-4d"))
        .otherwise(pl.col("date")).alias("date")
    )  # fmt: skip
    stale = world.__class__(**{**world.__dict__, "store": old})
    assert codes_of(selection.run(stale), "BINANCE:C003") == ["FEATURE_STALE"]
    thin = world
    for name in ("skew", "cvar", "adx_14", "recommend_all", "recommend_ma"):
        thin = spoil(thin, name, [3], None)
    assert "FEATURE_SPARSE" in codes_of(selection.run(thin), "BINANCE:C003")


def test_short_atoms_need_the_flag_on_every_rung(selection: SimpleNamespace) -> None:
    world = selection.make(16, "MIXED").with_settings("features", feat_short_direction=False)
    result = selection.run(world)
    assert {w.direction for w in result.winners.winners} == {"LONG"}
    assert result.audit.stages[-1].vetoes_by_code["DIRECTION_DISABLED"] == 8


def test_the_percentile_cut_is_final(selection: SimpleNamespace) -> None:
    result = selection.run(selection.make(40).with_settings("selection", percentile=0.25))
    assert result.audit.relaxation_stage == 4
    assert len(result.atoms) == 10
    assert {w.rank for w in result.winners.winners} == set(range(1, 11))
    codes = [v.code for rows in result.audit.vetoes.values() for v in rows]
    assert codes.count("PERCENTILE_EXCLUDED") == 30
    assert [f.code for f in result.findings if f.code == "PERCENTILE_BELOW_FLOOR"]


def test_hardening_tightens_entropy_once(selection: SimpleNamespace) -> None:
    world = selection.make(20).with_column("entropy", np.full(20, 0.96))
    base = world.with_settings("features", entropy_max_threshold=0.99)
    assert selection.run(base).audit.active_thresholds["entropy_max"] == 0.99
    hard = selection.run(base.with_settings("htr", entropy_hardening=True))
    assert hard.audit.stages[0].thresholds["entropy_max"] == pytest.approx(0.891)
    assert hard.audit.stages[0].vetoes_by_code == {"ENTROPY_HIGH": 20}
    assert hard.audit.stages[1].thresholds["entropy_max"] == 1.0
    assert "ENTROPY_HARDENED" in [f.code for f in hard.findings]


@pytest.mark.parametrize("momentum_floor", [0.0, -0.6])
def test_friction_vetoes_exactly_net_below_the_hurdle(
    selection: SimpleNamespace, momentum_floor: float
) -> None:
    rng = np.random.default_rng(2)
    world = selection.make(60).with_column("momentum", rng.uniform(-2.0, 2.5, 60))
    world = world.with_column("adv_30", 10 ** rng.uniform(5, 9, 60))
    frame = selection.run(world).features
    candidates, least = Candidates.of(frame), hurdle(0.0, momentum_floor)
    mean, sigma = candidates.number("momentum"), 1.0 / candidates.number("stability")
    net = mean - sigma * np.sqrt(1e6 / candidates.number("adv_30"))
    fails = (net < least) & ~((mean > 1.0) & (net >= 1.25 * least))
    vetoed = {veto.atom for veto in friction(candidates, 1e6, least)}
    assert vetoed == {atom for atom, bad in zip(candidates.atoms, fails, strict=True) if bad}
    assert 0 < len(vetoed) < 60


@pytest.mark.parametrize("name", ["adv_30", "momentum_s", "hurst", "regime_survival"])
def test_a_dropped_column_raises_and_vetoes_nobody(selection: SimpleNamespace, name: str) -> None:
    world = selection.make(16)
    cut = world.__class__(**{**world.__dict__, "store": world.store.drop(name)})
    with pytest.raises(ContractError) as caught:
        selection.run(cut)
    assert (caught.value.code, caught.value.exit_code) == ("FEATURE_COLUMN_MISSING", 3)


def test_a_value_outside_its_domain_stops_the_run(selection: SimpleNamespace) -> None:
    with pytest.raises(ContractError) as caught:
        selection.run(spoil(selection.make(16), "recommend_all", [2], 1.5))
    assert (caught.value.code, caught.value.exit_code) == ("FEATURE_OUT_OF_BOUNDS", 3)


def test_foundation_drops_and_winners_cover_the_pool_once(selection: SimpleNamespace) -> None:
    world = selection.make(30)
    lost = world.__class__(**{**world.__dict__, "dropped": {"BINANCE:C002USDT": "HISTORY_SHORT"}})
    audit = selection.run(lost).audit
    assert audit.counts["raw"] == len(audit.winners) + len(audit.vetoes) == 30
    assert audit.counts["after_foundation"] == audit.counts["scored"] == 29
    assert [v.code for v in audit.vetoes["BINANCE:C002USDT_rating_all_LONG"]] == ["HISTORY_SHORT"]
    assert audit.foundation_drops[0].symbol == "BINANCE:C002USDT"


def test_a_candidate_that_vanished_is_an_error(selection: SimpleNamespace) -> None:
    class Careless(type(selection.make(1))):  # type: ignore[misc]
        def foundation(self, run_id: str) -> Any:
            return super().foundation(run_id).model_copy(update={"drops": []})

    world = selection.make(30)
    lost = Careless(**{**world.__dict__, "dropped": {"BINANCE:C002USDT": "HISTORY_SHORT"}})
    with pytest.raises(ContractError, match="neither a column") as caught:
        selection.run(lost)
    error = caught.value
    assert (error.code, error.exit_code, error.where) == (
        "CANDIDATE_UNACCOUNTED", 1, "foundation_report:BINANCE:C002USDT",
    )  # fmt: skip


def test_scores_and_clusters_must_cover_the_same_candidates(selection: SimpleNamespace) -> None:
    world = selection.make(20)
    done = selection.run(world)
    params = PolicyParams(
        features=FeaturesSettings(),
        selection=SelectionSettings(),
        htr=HtrSettings(),
        ranking=RankingSettings(),
    )
    with pytest.raises(ContractError) as caught:
        choose(done.features, done.scores.head(19), world.clusters(), params)
    assert (caught.value.code, caught.value.exit_code) == ("SCORES_MISMATCH", 1)
    clusters = world.clusters()
    fewer = clusters.model_copy(update={"clusters": {k: v for k, v in clusters.clusters.items() if k != "2"}})
    with pytest.raises(ContractError) as caught:
        choose(done.features, done.scores, fewer, params)
    assert (caught.value.code, caught.value.exit_code) == ("CLUSTER_MISSING", 1)


def test_every_attempt_is_booked_with_its_vetoes(selection: SimpleNamespace) -> None:
    result = selection.run(spoil(selection.make(14), "efficiency", [1, 2], 0.01))
    tried = [f.details for f in result.findings if f.code == "STAGE_ATTEMPT"]
    assert [t["stage"] for t in tried] == [1, 2, 3, 4]
    assert [t["efficiency_min"] for t in tried] == pytest.approx([0.05, 0.04, 0.04, 0.04])
    assert all(t["vetoes_by_code"] == {"EFFICIENCY_LOW": 2} for t in tried)


def test_an_unknown_reason_is_never_relaxed() -> None:
    assert veto_class("SOMETHING_NEW") == "HARD"
    assert "entropy" in HARD_FEATURES
