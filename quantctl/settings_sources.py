"""The sources of settings: profiles, `.env`, process environment, `--set`; each as a list of entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.nearest import did_you_mean
from quantctl.profile_files import Profile
from quantctl.settings_schema import Unknown, known_variables, locate
from quantctl.yaml_file import parse_scalar

ALIASES: dict[str, str] = {
    "TV_PROFILES_DIR": "paths.profiles_dir",
    "TV_MANIFEST_PATH": "paths.profiles_dir",
    "TV_DATA_DIR": "paths.data_dir",
    "TV_LAKEHOUSE_DIR": "paths.lakehouse_dir",
    "TV_EXPORT_DIR": "paths.export_dir",
    "TV_ARTIFACTS_DIR": "paths.artifacts_dir",
    "TV_GOVERNANCE_DIR": "paths.governance_dir",
    "TV_STATE_URL": "paths.state_url",
    "TV_STRICT_HEALTH": "data.strict",
    "TV_STRICT_CANDIDATE_SCHEMA": "data.strict_candidates",
    "TV_STRICT_ISOLATION": "data.strict_isolation",
    "TV_STRICT_STABILITY": "allocation.strict_stability",
    "TV_ORCH_CPUS": "orchestration.cpus",
    "TV_ORCH_MEM_GB": "orchestration.mem_gb",
    "TV_ORCH_PARALLEL": "orchestration.parallel",
    "TV_ANALYSIS_ONLY": "governance.analysis_only",
}
NAMES = ("TV_PROFILE", "TV_RUN_ID")  # name a thing, set no key
_HTTP = "TV_HTTP__"
# Words of a key that would change the order of the mandatory steps, which no setting can.
LIFECYCLE = {"gates", "lifecycle", "pipeline", "skip", "skip_gates", "skip_stages", "stages", "steps"}


class Entry(NamedTuple):
    """One value for one key, with its origin and the place where it was written."""

    path: tuple[str, ...]
    value: Any
    origin: str
    place: str


class Source(NamedTuple):
    """What a source gave: entries, and keys that do not exist."""

    entries: list[Entry]
    problems: list[ConfigError]


def from_profile(profile: Profile, origin: str | None = None) -> Source:
    """Entries of a profile's own keys; unknown keys are named with file and line."""
    label = origin or f"profile:{profile.name}"
    entries, problems = [], []
    for path, value in _leaves(profile.settings, ()):
        found = locate(path)
        if isinstance(found, Unknown):
            problems.append(_unknown(found, profile.place(tuple(found.key.split(".")))))
        else:
            entries.append(Entry(path, value, label, profile.place(path)))
    return Source(entries, problems)


def _leaves(tree: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in tree.items():
        here = (*path, name)
        if isinstance(value, dict) and value and not isinstance(locate(here), Unknown):
            yield from _leaves(value, here)
        else:
            yield here, value


def from_overrides(overrides: Sequence[str] | Mapping[str, Any]) -> Source:
    """Entries of `key.path=value` texts (or a map of keys to values)."""
    given = overrides.items() if isinstance(overrides, Mapping) else map(_split, overrides)
    entries, problems = [], []
    for key, value in given:
        found = locate(tuple(key.split(".")))
        if isinstance(found, Unknown):
            problems.append(_unknown(found, f"--set {key}"))
        else:
            entries.append(Entry(found.path, _parsed(value, found.textual), "cli", f"--set {key}"))
    return Source(entries, problems)


def _split(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError("SETTING_SYNTAX", f"{text!r} is not key.path=value", where="--set")
    return key.strip(), value


def from_variables(variables: Mapping[str, str], origin: str, places: Mapping[str, str]) -> Source:
    """Entries of `TV_` variables; an empty value counts as unset, an unknown name is `ENV_UNKNOWN`."""
    entries: dict[tuple[str, ...], Entry] = {}
    problems = []
    for name in sorted(variables):
        if not name.startswith("TV_") or name in NAMES or not variables[name]:
            continue
        place = places.get(name, name)
        found = locate(tuple(_key_of(name).split(".")))
        if isinstance(found, Unknown):
            problems.append(_unknown_variable(name, place))
            continue
        entry = Entry(found.path, _parsed(variables[name], found.textual), origin, place)
        other = entries.setdefault(found.path, entry)
        if other.value != entry.value:
            problems.append(_two_names(other, entry))
    return Source(list(entries.values()), problems)


def _key_of(variable: str) -> str:
    if variable in ALIASES:
        return ALIASES[variable]
    if variable.startswith(_HTTP):
        return "data.http." + variable.removeprefix(_HTTP).lower()
    return variable.removeprefix("TV_").lower().replace("__", ".")


def _parsed(value: Any, textual: bool) -> Any:
    return parse_scalar(value) if isinstance(value, str) and not textual else value


def _unknown(found: Unknown, place: str) -> ConfigError:
    if LIFECYCLE & set(found.key.split(".")):
        return ConfigError(
            "LIFECYCLE_INVALID",
            f"{found.key}: steps and gates of a run are fixed; no setting removes, skips or swaps one",
            where=place,
            remedy="remove the key; quantctl stage list shows the steps",
        )
    return ConfigError(
        "SETTING_UNKNOWN",
        f"unknown key {found.key}{found.hint}",
        where=place,
        remedy="quantctl profiles show defaults --resolved lists every key",
    )


def _unknown_variable(name: str, place: str) -> ConfigError:
    hint = did_you_mean(name, (*known_variables(), *ALIASES, *NAMES))
    return ConfigError(
        "ENV_UNKNOWN", f"variable {name} names no setting{hint}", where=place, remedy=f"unset {name}"
    )


def _two_names(one: Entry, other: Entry) -> ConfigError:
    return ConfigError(
        "CONFIG_CONFLICT",
        f"{one.place} and {other.place} give {'.'.join(one.path)} different values",
        where=other.place,
        remedy="unset one of them",
    )


def read_dotenv(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Variables of a `.env` file, and the `file:line` of each; a missing file is empty."""
    values: dict[str, str] = {}
    places: dict[str, str] = {}
    if not path.is_file():
        return values, places
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        line = raw.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise ConfigError("SETTING_SYNTAX", f"{line!r} is not NAME=value", where=f"{path}:{number}")
        values[name.strip()] = _unquoted(value.strip())
        places[name.strip()] = f"{path}:{number}"
    return values, places


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value.partition(" #")[0].rstrip()
