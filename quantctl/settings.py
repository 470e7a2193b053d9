"""Resolution of the settings: `--set` > environment > `.env` > profile > defaults, with origins kept.

Later sources replace scalars and lists and merge maps key by key. Every value knows where it was
written, so that an error names the file and line, and `profiles show --origin` can print it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.nearest import did_you_mean
from quantctl.contracts.settings import FOLLOWERS, Settings, followed
from quantctl.contracts.settings.paths import PathsSettings
from quantctl.profile_files import Profile, Shelf, load_file
from quantctl.settings_schema import flattened
from quantctl.settings_sources import (
    Entry,
    Source,
    from_overrides,
    from_profile,
    from_variables,
    read_dotenv,
)

Overrides = Sequence[str] | Mapping[str, Any]
_RANGE = re.compile(r"greater_than|less_than|literal_error|enum|too_short|too_long|finite|multiple_of")


@dataclass(frozen=True)
class Resolved:
    """Effective settings and how they came about.

    `origins` maps each dotted key to `cli`, `env`, `dotenv`, `profile:<name>` or `default`;
    `warnings` are findings that do not stop a command (unknown variables outside strict mode).
    """

    settings: Settings
    profile: str
    run_id: str | None
    origins: dict[str, str]
    extends_chain: list[str]
    profile_sha256: list[str]
    warnings: list[ConfigError] = field(default_factory=list)

    def public(self) -> dict[str, Any]:
        """Settings as a JSON tree, secrets as `***`."""
        return self.settings.model_dump(mode="json")


@dataclass(frozen=True)
class _Gathered:
    profile: str
    run_id: str | None
    chain: list[Profile]
    entries: list[Entry]
    problems: list[ConfigError]
    unknown_variables: list[ConfigError]


def resolve(
    profile: str | None = None,
    *,
    overrides: Overrides = (),
    env: Mapping[str, str] | None = None,
    dotenv: Path | Mapping[str, str] | None = None,
    profiles_dir: Path | None = None,
    config: Path | None = None,
    require_profile: bool = False,
) -> Resolved:
    """Resolve the settings of `profile` (else `TV_PROFILE`, else none).

    Parameters
    ----------
    overrides : `key.path=value` texts or a map; the highest source
    env : process environment (None: the real one)
    dotenv : a `.env` file or its variables (None: `.env` in the working directory)
    profiles_dir : where profiles are looked up (None: `paths.profiles_dir`)
    config : a settings file in the form of a profile, applied after the profile
    require_profile : refuse with `PROFILE_REQUIRED` when no profile is named

    Raises the first problem as a `ConfigError` (exit 2); `details["findings"]` holds all of them.
    """
    resolved, problems = examine(
        profile, overrides=overrides, env=env, dotenv=dotenv, profiles_dir=profiles_dir, config=config,
        require_profile=require_profile,
    )  # fmt: skip
    if resolved is None:
        raise _with_all(problems)
    return resolved


def examine(
    profile: str | None = None,
    *,
    overrides: Overrides = (),
    env: Mapping[str, str] | None = None,
    dotenv: Path | Mapping[str, str] | None = None,
    profiles_dir: Path | None = None,
    config: Path | None = None,
    require_profile: bool = False,
) -> tuple[Resolved | None, list[ConfigError]]:
    """`resolve` that returns every problem instead of raising the first; no settings if there is one."""
    variables = dict(os.environ if env is None else env)
    values, places = _dotenv(dotenv)
    try:
        found = _gather(profile, overrides, variables, values, places, profiles_dir, config)
    except ConfigError as problem:
        return None, [problem]
    problems = list(found.problems)
    if require_profile and not found.profile:
        problems.append(
            ConfigError(
                "PROFILE_REQUIRED", "no profile was named", remedy="--profile NAME, or set TV_PROFILE"
            )
        )
    settings, refused = validated(found.entries)
    problems += refused
    strict = settings.data.strict if settings else _strict(found.entries)
    if strict:
        problems += found.unknown_variables
    if settings is None or problems:
        return None, problems
    return _resolved(settings, found, [] if strict else found.unknown_variables), []


def _dotenv(source: Path | Mapping[str, str] | None) -> tuple[dict[str, str], dict[str, str]]:
    if isinstance(source, Mapping):
        return dict(source), {}
    return read_dotenv(source or Path(".env"))


def _gather(
    name: str | None,
    overrides: Overrides,
    env: dict[str, str],
    dotenv: dict[str, str],
    places: dict[str, str],
    profiles_dir: Path | None,
    config: Path | None,
) -> _Gathered:
    chosen = name or env.get("TV_PROFILE") or dotenv.get("TV_PROFILE") or ""
    run_id = env.get("TV_RUN_ID") or dotenv.get("TV_RUN_ID") or None
    from_file = from_variables(dotenv, "dotenv", places)
    from_env = from_variables(env, "env", {})
    from_cli = from_overrides(overrides)
    above = [from_file, from_env, from_cli]
    shelf = Shelf(profiles_dir or _profiles_dir(above))
    chain = shelf.chain(chosen) if chosen else []
    if config is not None:
        chain = [*chain, load_file(config, config.stem)]
    sources = [*(from_profile(profile) for profile in chain), *above]
    problems = [problem for source in sources for problem in source.problems]
    return _Gathered(
        chosen,
        run_id,
        chain,
        [entry for source in sources for entry in source.entries],
        [problem for problem in problems if problem.code != "ENV_UNKNOWN"],
        [problem for problem in problems if problem.code == "ENV_UNKNOWN"],
    )


def _profiles_dir(sources: list[Source]) -> Path:
    given = [e.value for source in sources for e in source.entries if e.path == ("paths", "profiles_dir")]
    return Path(given[-1] if given else PathsSettings().profiles_dir)


def _strict(entries: list[Entry]) -> bool:
    return bool([entry.value for entry in entries if entry.path == ("data", "strict")][-1:] == [True])


def _tree(entries: list[Entry]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for entry in entries:
        node = tree
        for name in entry.path[:-1]:
            child = node.get(name)
            node[name] = node = child if isinstance(child, dict) else {}
        node[entry.path[-1]] = entry.value
    return tree


def validated(entries: list[Entry]) -> tuple[Settings | None, list[ConfigError]]:
    """Settings of entries, the later above the earlier; every problem with its place, no settings then."""
    try:
        return followed(Settings.model_validate(_tree(entries))), []
    except ValidationError as refused:
        problems = [_problem(error, entries) for error in refused.errors(include_url=False)]
        return None, problems


def _problem(error: Any, entries: list[Entry]) -> ConfigError:
    path = tuple(str(part) for part in error["loc"] if part != "[key]")
    kind = str(error["type"])
    key = ".".join(path) or "settings"
    message = f"{key}: {error['msg']}"
    if kind == "literal_error":
        message += did_you_mean(str(error["input"]), re.findall(r"'([^']*)'", error["ctx"]["expected"]))
    place = _place(path, entries)
    return ConfigError(
        _code(kind), message, where=place, remedy=f"change it at {place}", details={"key": key}
    )


def _code(kind: str) -> str:
    if kind == kind.upper():
        return kind
    if kind == "extra_forbidden":
        return "SETTING_UNKNOWN"
    if kind == "missing":
        return "SETTING_MISSING"
    return "CONFIG_RANGE" if _RANGE.search(kind) else "CONFIG_TYPE"


def _place(path: tuple[str, ...], entries: list[Entry]) -> str:
    """Where the value at `path` was written: the last entry at, above or below it."""
    places = [entry.place for entry in entries if _touches(entry.path, path)]
    return (places or [entry.place for entry in entries] or [""])[-1]


def _touches(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    shared = min(len(one), len(other))
    return shared > 0 and one[:shared] == other[:shared]


def _resolved(settings: Settings, found: _Gathered, warnings: list[ConfigError]) -> Resolved:
    given = {".".join(entry.path): entry.origin for entry in found.entries}
    keys = [key for key, _ in flattened(settings.model_dump(mode="json"))]
    return Resolved(
        settings=settings,
        profile=found.profile,
        run_id=found.run_id,
        origins={key: _origin(key, given) for key in keys},
        extends_chain=[profile.name for profile in found.chain],
        profile_sha256=[profile.sha256 for profile in found.chain],
        warnings=warnings,
    )


def _origin(key: str, given: dict[str, str]) -> str:
    if key in given:
        return given[key]
    for follower, leader in FOLLOWERS.items():
        if key == follower or key.startswith(f"{follower}."):
            return given.get(leader + key.removeprefix(follower), "default")
    return "default"


def _with_all(problems: list[ConfigError]) -> ConfigError:
    first = problems[0]
    if len(problems) == 1:
        return first
    findings = [problem.to_dict() for problem in problems]
    return ConfigError(
        first.code, first.message, where=first.where, remedy=first.remedy,
        details={**first.details, "findings": findings},
    )  # fmt: skip
