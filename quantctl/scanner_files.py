"""Scanner definitions on disk: `<profiles>/scanners/*.yaml`, then the shipped ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quantctl.contracts.errors import ConfigError
from quantctl.profile_files import SHIPPED
from quantctl.steps.l1_ingestion.scanner import Definition, Document, resolve, runnable
from quantctl.yaml_file import Document as YamlDocument
from quantctl.yaml_file import parse_map


def documents(profiles_dir: Path | None = None) -> dict[str, Document]:
    """Every definition by name; one of `profiles_dir` hides a shipped one of its name.

    Raises `SCANNER_DUPLICATE_KEY` and `PROFILE_SYNTAX` with file and line.
    """
    found: dict[str, Document] = {}
    for folder in (SHIPPED / "scanners", *([profiles_dir / "scanners"] if profiles_dir else [])):
        for file in sorted(folder.glob("*.yaml")):
            found[file.stem] = _document(file)
    return found


def _document(file: Path) -> Document:
    try:
        parsed = parse_map(file.read_text(encoding="utf-8"), str(file))
    except ConfigError as problem:
        if problem.code != "PROFILE_DUPLICATE_KEY":
            raise
        raise ConfigError(
            "SCANNER_DUPLICATE_KEY", problem.message, where=problem.where, remedy=problem.remedy
        ) from None
    return Document(parsed.value, lambda path: _place(file, parsed, path))


def _place(file: Path, parsed: YamlDocument, path: tuple[str, ...]) -> str:
    for depth in range(len(path), 0, -1):
        line = parsed.lines.get(path[:depth])
        if line is not None:
            return f"{file}:{line}"
    return str(file)


def definitions(names: tuple[str, ...], profiles_dir: Path | None = None) -> dict[str, Definition]:
    """The resolved definitions of a profile's scanners by name (errors: `scanner.resolve`)."""
    known = documents(profiles_dir)
    return {name: runnable(name, resolve(name, known)) for name in sorted(set(names))}


def as_json(found: dict[str, Definition]) -> dict[str, Any]:
    """Definitions as they travel in a request, and back through `Definition.model_validate`."""
    return {name: definition.model_dump(mode="json") for name, definition in found.items()}
