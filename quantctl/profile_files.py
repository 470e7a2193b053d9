"""Profiles on disk: where they are found, and the chain that `extends` makes of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.nearest import did_you_mean
from quantctl.yaml_file import Document, parse_map

SHIPPED = Path(__file__).parent / "profiles"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_ABOUT = ("description", "extends")


@dataclass(frozen=True)
class Profile:
    """One profile: a sentence, the names that it extends, its own settings and their lines."""

    name: str
    file: str
    description: str
    extends: tuple[str, ...]
    document: Document
    sha256: str

    @property
    def settings(self) -> dict[str, Any]:
        """Its own keys, without those that it inherits."""
        return {key: value for key, value in self.document.value.items() if key not in _ABOUT}

    def place(self, path: tuple[str, ...]) -> str:
        """`file:line` of a key, or of the nearest key above it."""
        for depth in range(len(path), 0, -1):
            line = self.document.lines.get(path[:depth])
            if line is not None:
                return f"{self.file}:{line}"
        return self.file


def load_file(path: Path, name: str) -> Profile:
    """Read one profile file; raises `PROFILE_SYNTAX` or `PROFILE_DUPLICATE_KEY` with file and line."""
    data = _read(path)
    return _profile(name, str(path), parse_map(data.decode("utf-8"), str(path)), data)


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        data.decode("utf-8")
    except FileNotFoundError:
        raise ConfigError("PROFILE_UNKNOWN", "the file does not exist", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError("PROFILE_SYNTAX", f"cannot be read as text: {problem}", where=str(path)) from None
    return data


def _profile(name: str, file: str, document: Document, data: bytes) -> Profile:
    own = document.value
    description, extends = own.get("description", ""), own.get("extends") or []
    if isinstance(extends, str):
        extends = [extends]
    if not isinstance(description, str) or not isinstance(extends, list):
        raise ConfigError("PROFILE_SYNTAX", "description is text, extends is names", where=file)
    names = tuple(str(entry) for entry in extends)
    return Profile(name, file, description, names, document, hashlib.sha256(data).hexdigest())


class Shelf:
    """Where profiles are looked up: a directory or a single file, then the shipped ones.

    A single file holds a map `profiles` of names to bodies.
    """

    def __init__(self, place: Path, *, shipped: Path = SHIPPED) -> None:
        self.place = place
        self.shipped = shipped
        self._bodies = _single_file(place) if place.is_file() else {}

    def names(self) -> list[str]:
        """Names of all profiles, sorted."""
        found = set(self._bodies)
        for directory in self._directories():
            found.update(file.stem for file in directory.glob("*.yaml"))
        return sorted(found)

    def profile(self, name: str, *, asked_by: str = "") -> Profile:
        """The profile called `name`; raises `PROFILE_UNKNOWN` with the nearest name."""
        if name in self._bodies:
            return self._bodies[name]
        if _NAME.fullmatch(name):
            for directory in self._directories():
                file = directory / f"{name}.yaml"
                if file.is_file():
                    return load_file(file, name)
        raise ConfigError(
            "PROFILE_UNKNOWN",
            f"unknown profile {name!r}{did_you_mean(name, self.names())}",
            where=asked_by,
            remedy="quantctl profiles list",
        )

    def chain(self, name: str) -> list[Profile]:
        """The profiles that make up `name`, in the order in which they apply, itself last."""
        return self._chain(name, (), "")

    def _chain(self, name: str, above: tuple[str, ...], asked_by: str) -> list[Profile]:
        if name in above:
            loop = " -> ".join((*above, name))
            raise ConfigError("PROFILE_CYCLE", f"extends returns to its start: {loop}", where=asked_by)
        profile = self.profile(name, asked_by=asked_by)
        place = profile.place(("extends",))
        bases = [entry for base in profile.extends for entry in self._chain(base, (*above, name), place)]
        return [*bases, profile]

    def _directories(self) -> Sequence[Path]:
        return [directory for directory in (self.place, self.shipped) if directory.is_dir()]


def _single_file(path: Path) -> dict[str, Profile]:
    data = _read(path)
    document = parse_map(data.decode("utf-8"), str(path))
    bodies = document.value.get("profiles")
    if not isinstance(bodies, dict) or set(document.value) != {"profiles"}:
        raise ConfigError("PROFILE_SYNTAX", "a file of profiles holds one map `profiles`", where=str(path))
    return {name: _profile(name, str(path), _body(document, name), data) for name in bodies}


def _body(document: Document, name: str) -> Document:
    value = document.value["profiles"][name]
    start = ("profiles", name)
    lines = {path[2:]: line for path, line in document.lines.items() if path[:2] == start and len(path) > 2}
    return Document(value if isinstance(value, dict) else {}, lines)
