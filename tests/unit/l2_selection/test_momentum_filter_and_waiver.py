"""The momentum filter where it is listed, the waived cluster limit, and what this version refuses to run."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from quantctl.contracts.errors import ConfigError


def test_the_momentum_filter_acts_only_where_it_is_listed(selection: SimpleNamespace) -> None:
    returns = [0.2] * 14
    returns[3], returns[5] = -0.31, -0.3  # below the floor, and exactly on it
    world = selection.make(14).with_column("mom_60", returns)
    world = world.with_settings("selection", min_momentum_score=-0.3)
    listed = world.with_settings("selection", filters=["darwinian", "predictability", "momentum"])
    strict = selection.run(listed.with_settings("htr", relaxation_stage=1)).audit.vetoes
    low = {atom: rows[0] for atom, rows in strict.items() if rows[0].code == "MOMENTUM_LOW"}
    assert list(low) == ["BINANCE:C003USDT_rating_all_LONG"]
    (veto,) = low.values()
    assert (veto.class_, veto.value, veto.limit, veto.stage) == ("SOFT", -0.31, -0.3, "momentum")
    (winner,) = [w for w in selection.run(listed).winners.winners if w.symbol == "BINANCE:C003USDT"]
    assert (winner.waived, winner.stage_admitted) == (["MOMENTUM_LOW"], 4)
    unlisted = selection.run(world.with_settings("htr", relaxation_stage=1)).audit.vetoes
    assert "MOMENTUM_LOW" not in {row.code for rows in unlisted.values() for row in rows}


@pytest.mark.parametrize(("group", "waived"), [(14, True), (8, False)])
def test_the_cluster_limit_is_waived_only_where_the_floor_needs_it(
    selection: SimpleNamespace, group: int, *, waived: bool
) -> None:
    """16 candidates, floor 15: rung 4 admits 8 per cluster, which is enough for 8 + 8, not for 14 + 2."""
    result = selection.run(replace(selection.make(16), group=group))
    found = [(f.level, f.symbol) for f in result.findings if f.code == "CLUSTER_LIMIT_WAIVED"]
    assert found == ([("INFO", None)] if waived else [])
    assert (result.audit.relaxation_stage, len(result.atoms)) == (4, 15)
    assert ("CLUSTER_LIMIT_WAIVED" in [row["code"] for row in result.audit.warnings]) is waived


@pytest.mark.parametrize(
    ("code", "key", "value", "remedy"),
    [
        ("SCALE_UNAVAILABLE", "features.predictability_scale", "calibrated", "use raw"),
        (
            "FILTER_UNAVAILABLE", "selection.filters", ["darwinian", "trend_regime"],
            "use darwinian or predictability or friction or momentum",
        ),
        ("RANKER_UNAVAILABLE", "ranking.method", "regime", "use mps or signal"),
        ("RANKER_UNAVAILABLE", "ranking.regime_fit", True, "use false"),
        ("RELABEL_UNAVAILABLE", "features.feat_dynamic_direction", True, "use false"),
    ],
)  # fmt: skip
def test_what_this_version_does_not_run_is_refused_not_ignored(
    selection: SimpleNamespace, code: str, key: str, value: Any, remedy: str
) -> None:
    section, _, name = key.partition(".")
    with pytest.raises(ConfigError) as caught:
        selection.run(selection.make(16).with_settings(section, **{name: value}))
    error = caught.value
    assert (error.code, error.exit_code, error.where, error.remedy) == (code, 2, key, remedy)
