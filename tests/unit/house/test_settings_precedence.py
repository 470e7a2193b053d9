"""Sources of settings: which one wins, what is refused, and where it says the value was written."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.settings import SECTIONS, Settings, followed
from quantctl.profile_files import Shelf
from quantctl.settings import Resolved, examine, resolve
from quantctl.settings_schema import flattened, known_variables
from quantctl.settings_sources import ALIASES, read_dotenv

KEY = "selection.top_n"
SOURCES = ("default", "profile", "dotenv", "env", "cli")  # lowest first
VALUE = {"default": 3, "profile": 4, "dotenv": 5, "env": 6, "cli": 7}
ORIGIN = {"default": "default", "profile": "profile:p", "dotenv": "dotenv", "env": "env", "cli": "cli"}


def written(tmp_path: Path, **profiles: str) -> Path:
    for name, body in profiles.items():
        (tmp_path / f"{name}.yaml").write_text(body, encoding="utf-8")
    return tmp_path


def resolved(tmp_path: Path, *given: str) -> Resolved:
    body = f"selection:\n  top_n: {VALUE['profile']}\n" if "profile" in given else "description: empty\n"
    written(tmp_path, p=body)
    return resolve(
        "p",
        overrides=[f"{KEY}={VALUE['cli']}"] if "cli" in given else [],
        env={"TV_SELECTION__TOP_N": str(VALUE["env"])} if "env" in given else {},
        dotenv={"TV_SELECTION__TOP_N": str(VALUE["dotenv"])} if "dotenv" in given else {},
        profiles_dir=tmp_path,
    )


def refused(code: str, **sources: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        resolve(**{"env": {}, "dotenv": {}, **sources})  # type: ignore[arg-type]
    assert caught.value.code == code, caught.value
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize(("lower", "higher"), list(combinations(SOURCES, 2)))
def test_the_higher_source_of_every_pair_wins(tmp_path: Path, lower: str, higher: str) -> None:
    found = resolved(tmp_path, lower, higher)
    assert found.settings.selection.top_n == VALUE[higher]
    assert found.origins[KEY] == ORIGIN[higher]


def test_all_sources_at_once_give_the_command_line(tmp_path: Path) -> None:
    assert resolved(tmp_path, *SOURCES).settings.selection.top_n == VALUE["cli"]


def test_extends_applies_left_to_right_then_own_keys(tmp_path: Path) -> None:
    written(
        tmp_path,
        a="selection: {top_n: 5, max_winners: 30}\nhtr: {floor: 16}\n",
        b="selection: {top_n: 6}\nhtr: {floor: 17}\n",
        c="extends: [a, b]\nhtr: {floor: 18}\n",
    )
    found = resolve("c", env={}, dotenv={}, profiles_dir=tmp_path)
    assert (found.settings.selection.top_n, found.settings.selection.max_winners) == (6, 30)
    assert found.settings.htr.floor == 18
    assert found.extends_chain == ["a", "b", "c"]
    assert len(found.profile_sha256) == 3
    assert found.origins["selection.max_winners"] == "profile:a"
    assert found.origins["selection.top_n"] == "profile:b"
    assert found.origins["htr.floor"] == "profile:c"


def test_maps_merge_and_lists_replace(tmp_path: Path) -> None:
    written(
        tmp_path,
        a="mps: {weights_override: {momentum: 1.0, entropy: 2.0}}\nselection: {filters: [friction]}\n",
        b="extends: a\nmps: {weights_override: {entropy: 3.0}}\nselection: {filters: [darwinian]}\n",
    )
    settings = resolve("b", env={}, dotenv={}, profiles_dir=tmp_path).settings
    assert settings.mps.weights_override == {"momentum": 1.0, "entropy": 3.0}
    assert settings.selection.filters == ("darwinian",)


def test_an_unknown_key_names_file_line_and_nearest_key(tmp_path: Path) -> None:
    written(tmp_path, p="selection:\n  top_n: 4\n  max_winers: 30\n")
    error = refused("SETTING_UNKNOWN", profile="p", profiles_dir=tmp_path)
    assert "max_winners" in error.message
    assert error.where.endswith("p.yaml:3")


def test_an_unknown_section_is_refused(tmp_path: Path) -> None:
    written(tmp_path, p="selektion: {top_n: 4}\n")
    assert "selection" in refused("SETTING_UNKNOWN", profile="p", profiles_dir=tmp_path).message


def test_a_key_that_stands_twice_names_both_lines(tmp_path: Path) -> None:
    written(tmp_path, p="selection:\n  top_n: 4\n  top_n: 5\n")
    error = refused("PROFILE_DUPLICATE_KEY", profile="p", profiles_dir=tmp_path)
    assert error.where.endswith("p.yaml:3")
    assert "line 2" in error.message


@pytest.mark.parametrize(
    "body", ["- a\n- b\n", "a: [1, 2\n", "? [x]\n: 1\n", "extends: {a: 1}\n", "description: 3\n"]
)
def test_a_profile_that_is_no_map_is_refused(tmp_path: Path, body: str) -> None:
    written(tmp_path, p=body)
    refused("PROFILE_SYNTAX", profile="p", profiles_dir=tmp_path)


def test_an_unknown_profile_names_the_nearest() -> None:
    error = refused("PROFILE_UNKNOWN", profile="binance_spot_rating_all_lnog")
    assert "binance_spot_rating_all_long" in error.message


def test_an_unknown_base_names_the_line_that_asks_for_it(tmp_path: Path) -> None:
    written(tmp_path, p="description: d\nextends: nobody\n")
    assert refused("PROFILE_UNKNOWN", profile="p", profiles_dir=tmp_path).where.endswith("p.yaml:2")


def test_a_path_is_no_profile_name() -> None:
    refused("PROFILE_UNKNOWN", profile="../pyproject")


def test_a_circle_of_extends_is_refused(tmp_path: Path) -> None:
    written(tmp_path, a="extends: b\n", b="extends: a\n")
    assert "a -> b -> a" in refused("PROFILE_CYCLE", profile="a", profiles_dir=tmp_path).message


def test_a_missing_profile_is_refused_where_one_is_required() -> None:
    refused("PROFILE_REQUIRED", require_profile=True)


def test_the_profile_and_run_id_may_come_from_the_environment(tmp_path: Path) -> None:
    found = resolve(env={"TV_PROFILE": "development", "TV_RUN_ID": "r1"}, dotenv={"TV_RUN_ID": "r2"})
    assert (found.profile, found.run_id) == ("development", "r1")


def test_every_alias_names_a_key_and_reaches_it() -> None:
    for variable, key in ALIASES.items():
        if key == "paths.profiles_dir":
            continue
        section, _, rest = key.partition(".")
        text = {"governance.analysis_only": "1"}.get(
            key, "0" if "strict" in key or "parallel" in key else "2"
        )
        found = resolve(env={variable: text}, dotenv={})
        assert found.origins[key] == "env", variable
        assert section in SECTIONS
        assert rest


def test_http_variables_reach_data_http() -> None:
    found = resolve(env={"TV_HTTP__BINANCE_SPOT_BASE_URL": "http://127.0.0.1:8000"}, dotenv={})
    assert found.settings.data.http.binance_spot_base_url == "http://127.0.0.1:8000"


def test_two_names_of_one_key_may_not_disagree() -> None:
    refused("CONFIG_CONFLICT", env={"TV_STRICT_HEALTH": "1", "TV_DATA__STRICT": "0"})
    assert resolve(env={"TV_STRICT_HEALTH": "1", "TV_DATA__STRICT": "1"}, dotenv={}).settings.data.strict


def test_an_unknown_variable_warns_and_in_strict_mode_fails() -> None:
    (warning,) = resolve(env={"TV_STRICT_HELTH": "1"}, dotenv={}).warnings
    assert warning.code == "ENV_UNKNOWN"
    assert "TV_STRICT_HEALTH" in warning.message
    refused("ENV_UNKNOWN", env={"TV_STRICT_HELTH": "1", "TV_STRICT_HEALTH": "1"})
    refused("ENV_UNKNOWN", profile="binance_spot_rating_all_long", env={"TV_NOTHING": "1"})


def test_an_empty_variable_counts_as_unset() -> None:
    assert (
        resolve(env={"TV_SELECTION__TOP_N": "", "TV_STATE_URL": ""}, dotenv={}).settings
        == resolve(env={}, dotenv={}).settings
    )


def test_every_setting_has_a_variable() -> None:
    names = known_variables()
    assert len(names) == len(set(names)) > 150
    assert "TV_DATA__FRESHNESS__STALE_HOURS" in names


def test_a_dotenv_line_may_be_quoted_exported_and_commented(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# c\nexport TV_A='x y'\nTV_B=1 # one\n\nTV_C=\"z\"\n", encoding="utf-8")
    values, places = read_dotenv(file)
    assert values == {"TV_A": "x y", "TV_B": "1", "TV_C": "z"}
    assert places["TV_C"].endswith(".env:5")
    file.write_text("nonsense\n", encoding="utf-8")
    refused("SETTING_SYNTAX", dotenv=file)


def test_an_unknown_dotenv_variable_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("TV_DATA__STRICT=1\nTV_NOPE=2\n", encoding="utf-8")
    assert refused("ENV_UNKNOWN", dotenv=file).where.endswith(".env:2")


@pytest.mark.parametrize("key", ["stages: [selection.policy]", "pipeline:\n  skip: [report.validation]"])
def test_a_profile_cannot_change_the_steps_of_a_run(tmp_path: Path, key: str) -> None:
    (tmp_path / "p.yaml").write_text(f"description: A.\n{key}\n", encoding="utf-8")
    error = refused("LIFECYCLE_INVALID", profile="p", profiles_dir=tmp_path)
    assert error.exit_code == 2
    assert error.where.endswith("p.yaml:2")
    assert "quantctl stage list" in error.remedy


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ("orchestration.skip_gates=[l3]", "LIFECYCLE_INVALID"),
        ("htr.floor=14", "HTR_FLOOR_TOO_LOW"),
        ("htr.flor=15", "SETTING_UNKNOWN"),
        ("selection.filters=[darwinian, frictoin]", "FILTER_UNKNOWN"),
        ("features.selection_mode=v5", "ENGINE_UNKNOWN"),
        ("features.dominant_signal=momentun", "SIGNAL_UNKNOWN"),
        ("mps.weights_override.momentun=1", "SIGNAL_UNKNOWN"),
        ("ratings.weights=[0.5, 0.6]", "RATING_WEIGHTS_INVALID"),
        ("allocation.engine=nativ", "CONFIG_RANGE"),
        ("allocation.kappa_max=5001", "CONFIG_RANGE"),
        ("allocation.beta.tolerance=0.2", "CONFIG_RANGE"),
        ("allocation.beta.tolerance=0", "CONFIG_RANGE"),
        ("allocation.beta.apply_to=[erc]", "BETA_UNSUPPORTED_FOR_PROFILE"),
        ("allocation.risk_profiles=[hrpp]", "RISK_PROFILE_UNKNOWN"),
        ("allocation.risk_profiles=[risk_budget]", "BUDGET_MISSING"),
        ("allocation.l2_by_quadrant.NORMAL=0.1", "CONFIG_RANGE"),
        ("htr.leg_floor=13", "CONFIG_RANGE"),
        ("ranking.direction=ascending", "RANK_DIRECTION_MISMATCH"),
        ("features.feat_dynamic_direction=true", "CONFIG_CONFLICT"),
        ("regime.quiet_score=1.1", "CONFIG_RANGE"),
        ("synthesis.trend_window=4", "CONFIG_RANGE"),
        ("selection.max_winners=14", "CONFIG_RANGE"),
        ("features.feature_lookback=59", "CONFIG_RANGE"),
        ("data.max_gap_share=nan", "CONFIG_RANGE"),
        ("data.calendars.BINANCE=24/7", "CALENDAR_UNKNOWN"),
        ("data.min_days_floor=600", "CONFIG_RANGE"),
        ("backtest.test_window=5", "WINDOW_GAP"),
        ("sleeve.direction=LONGG", "CONFIG_RANGE"),
        ("data.strict=maybe", "CONFIG_TYPE"),
        ("selection.top_n=three", "CONFIG_TYPE"),
        ("selection.top_n.more=1", "SETTING_UNKNOWN"),
        ("selection.top_n", "SETTING_SYNTAX"),
        ("synthesis.composites=[{name: a, kind: pair}]", "SETTING_MISSING"),
    ],
)
def test_a_refused_value_says_why_under_its_own_code(override: str, code: str) -> None:
    error = refused(code, overrides=[override])
    assert error.where


def test_a_short_sleeve_cannot_turn_its_sign_test_off() -> None:
    refused(
        "SIGN_GATE_REQUIRED",
        profile="binance_spot_rating_all_short",
        overrides=["features.feat_directional_sign_test_gate_atomic=false"],
    )


def test_a_refused_value_names_the_place_that_set_it(tmp_path: Path) -> None:
    written(tmp_path, p="htr:\n  entropy_hard_stop: 0.9\n  floor: 3\n")
    assert refused("HTR_FLOOR_TOO_LOW", profile="p", profiles_dir=tmp_path).where.endswith("p.yaml:3")
    env = {"TV_HTR__FLOOR": "3"}
    assert refused("HTR_FLOOR_TOO_LOW", env=env).where == "TV_HTR__FLOOR"


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    written(tmp_path, p="htr: {floor: 3, flor: 4}\nselection: {max_winners: 2}\nnope: 1\n")
    _, problems = examine("p", env={}, dotenv={}, profiles_dir=tmp_path)
    codes = [problem.code for problem in problems]
    assert codes.count("SETTING_UNKNOWN") == 2
    assert "HTR_FLOOR_TOO_LOW" in codes
    assert "CONFIG_RANGE" in codes


def test_followers_take_their_leaders_value_and_origin() -> None:
    found = resolve("binance_perp_rating_all_long", env={}, dotenv={})
    assert found.settings.data.strict_candidates is True
    assert found.settings.data.freshness.alpha_action == "fail"
    assert found.settings.allocation.clusters.threshold == 0.45
    assert found.origins["allocation.clusters.threshold"] == "profile:defaults"
    assert found.settings.allocation.beta.benchmark == "BINANCE:BTCUSDT.P"
    own = resolve(
        env={}, dotenv={}, overrides=["allocation.clusters.threshold=0.6", "selection.clusters.threshold=0.4"]
    )
    assert own.settings.allocation.clusters.threshold == 0.6


def test_secrets_are_masked_everywhere() -> None:
    found = resolve(
        env={"TV_STATE_URL": "postgresql://u:secret@h/d", "TV_GOVERNANCE__KEY_FILE": "/k"}, dotenv={}
    )
    assert found.public()["paths"]["state_url"] == "***"
    assert found.public()["governance"]["key_file"] == "***"
    assert "secret" not in repr(found)


def test_a_settings_file_applies_after_the_profile(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("selection: {top_n: 9}\n", encoding="utf-8")
    found = resolve("development", env={}, dotenv={}, config=file)
    assert found.settings.selection.top_n == 9
    assert found.origins[KEY] == "profile:mine"
    assert found.extends_chain[-1] == "mine"


def test_profiles_may_stand_in_a_single_file(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text("profiles:\n  one:\n    extends: defaults\n    htr: {floor: 3}\n", encoding="utf-8")
    error = refused("HTR_FLOOR_TOO_LOW", profile="one", env={"TV_MANIFEST_PATH": str(file)})
    assert error.where.endswith("all.yaml:4")


def test_resolving_twice_gives_equal_settings_and_every_leaf_has_an_origin() -> None:
    one, two = (resolve("development", env={}, dotenv={}) for _ in range(2))
    assert one == two
    assert set(one.origins) == {key for key, _ in flattened(one.public())}


def test_defaults_are_those_of_the_models() -> None:
    assert resolve(env={}, dotenv={}).settings == followed(Settings())


def test_public_settings_validate_again() -> None:
    found = resolve("binance_spot_rating_all_neutral", env={}, dotenv={})
    assert Settings.model_validate(found.public()).allocation == found.settings.allocation


def test_the_shelf_lists_shipped_profiles_behind_its_own(tmp_path: Path) -> None:
    written(tmp_path, mine="description: m\n")
    names = Shelf(tmp_path).names()
    assert "mine" in names
    assert "development" in names
