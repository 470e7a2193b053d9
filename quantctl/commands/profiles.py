"""`quantctl profiles`: what profiles there are, what they resolve to, and how they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from quantctl.contracts.errors import ConfigError
from quantctl.invocation import Invocation, invocation
from quantctl.options import Json, Limit
from quantctl.output import document, emit, print_json, table
from quantctl.profile_files import Shelf
from quantctl.settings import examine, resolve
from quantctl.settings_schema import flattened

app = typer.Typer(help="List, show, check and compare profiles.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="Name of a profile.")]


def _shelf(options: Invocation) -> Shelf:
    base = resolve(overrides=options.overrides, env=_without_profile())
    return Shelf(Path(base.settings.paths.profiles_dir))


def _without_profile() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if name != "TV_PROFILE"}


@app.command("list")
def list_profiles(ctx: typer.Context, as_json: Json = False, limit: Limit = None) -> None:
    """Names of all profiles, each with its sentence."""
    shelf = _shelf(invocation(ctx))
    profiles = [shelf.profile(name) for name in shelf.names()][:limit]
    rows = [
        {"name": p.name, "description": p.description, "extends": list(p.extends), "file": p.file}
        for p in profiles
    ]
    text = table(["profile", "sentence"], [(row["name"], row["description"]) for row in rows])
    emit("profiles", rows, text, as_json=as_json)


@app.command("show")
def show(
    ctx: typer.Context,
    name: Name,
    resolved: Annotated[bool, typer.Option("--resolved", help="Every key with its effective value.")] = False,
    origin: Annotated[bool, typer.Option("--origin", help="The source of each key.")] = False,
    as_json: Json = False,
) -> None:
    """A profile as it is written, or resolved."""
    options = invocation(ctx)
    if not resolved and not origin:
        _show_written(_shelf(options), name, as_json)
        return
    found = options.resolve(name)
    rows = list(flattened(found.public()))
    if as_json:
        data = {
            "profile": name, "settings": found.public(), "origins": found.origins,
            "extends_chain": found.extends_chain, "profile_sha256": found.profile_sha256,
        }  # fmt: skip
        print_json(document("profile", data))
    elif origin:
        print(table(["key", "origin", "value"], [(k, found.origins[k], _inline(v)) for k, v in rows]))
    else:
        print(_yaml(found.public()), end="")


def _show_written(shelf: Shelf, name: str, as_json: bool) -> None:
    profile = shelf.profile(name)
    emit(
        "profile",
        {"profile": name, "file": profile.file, "written": profile.document.value},
        f"# {profile.file}\n{_yaml(profile.document.value)}".rstrip(),
        as_json=as_json,
    )


def _yaml(tree: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100)


def _inline(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, default=str)


@app.command("validate")
def validate(
    ctx: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(help="Profiles (default: all).")] = None,
    as_json: Json = False,
) -> None:
    """Every finding of every profile at once: keys, types, ranges, extends and scanners."""
    options = invocation(ctx)
    shelf = _shelf(options)
    found = {name: _findings(options, shelf, name) for name in names or shelf.names()}
    data = [{"profile": name, "ok": not problems, "findings": problems} for name, problems in found.items()]
    if not any(found.values()):
        emit("profiles_validate", data, "\n".join(_report(found)), as_json=as_json)
        return
    first = next(problem for problems in found.values() for problem in problems)
    if not as_json:
        print("\n".join(_report(found)))
    raise ConfigError(
        first["code"], first["message"], where=first["where"], remedy=first["remedy"] or "mend the profile",
        details={"findings": [p for problems in found.values() for p in problems]},
    )  # fmt: skip


def _findings(options: Invocation, shelf: Shelf, name: str) -> list[dict[str, Any]]:
    resolved, problems = examine(
        name, overrides=options.overrides, config=options.config, profiles_dir=shelf.place
    )
    if resolved is not None:
        problems = _scanner_problems(resolved.settings.discovery.scanners, shelf.place)
    return [problem.to_dict() for problem in problems]


def _scanner_problems(names: tuple[str, ...], profiles_dir: Path) -> list[ConfigError]:
    from quantctl.scanner_files import definitions

    problems = []
    for name in names:
        try:
            definitions((name,), profiles_dir if profiles_dir.is_dir() else None)
        except ConfigError as problem:
            problems.append(problem)
    return problems


def _report(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = []
    for name, problems in found.items():
        lines.append(f"{name}: {'ok' if not problems else f'{len(problems)} findings'}")
        lines += [f"  {p['code']} {p['message']} [{p['where']}]" for p in problems]
    return lines


@app.command("diff")
def diff(ctx: typer.Context, one: Name, other: Name, as_json: Json = False) -> None:
    """Keys on which two resolved profiles differ, with both values."""
    options = invocation(ctx)
    left = dict(flattened(options.resolve(one).public()))
    right = dict(flattened(options.resolve(other).public()))
    keys = [key for key in {**left, **right} if left.get(key) != right.get(key)]
    rows = [{"key": key, one: left.get(key), other: right.get(key)} for key in keys]
    text = table(
        ["key", one, other], [(key, _inline(left.get(key)), _inline(right.get(key))) for key in keys]
    )
    emit("profiles_diff", rows, text, as_json=as_json)
