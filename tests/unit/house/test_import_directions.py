"""Who may import whom: five rooms on four floors, and no arrow runs back up."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("contracts", "lake", "steps", "workflows", "quantctl")
MAY = {
    "contracts": {"contracts"},
    "lake": {"lake", "contracts"},
    "steps": {"steps", "contracts"},
    "workflows": {"workflows", "steps", "lake", "contracts"},
    "quantctl": set(ROOMS),
}
IMPURE = {
    "dbos", "duckdb", "httpx", "logging", "os", "pathlib", "random", "shutil", "socket", "sqlalchemy",
    "sqlite3", "stamina", "subprocess", "tempfile", "time", "urllib",
}  # fmt: skip
FILES = [
    path
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
    if not any(parent.is_symlink() for parent in path.parents)
]


def imports(path: Path) -> list[tuple[str, int]]:
    """(dotted module, line) of every import, at any depth of the file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((node.module or "", node.lineno))
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((".", node.lineno))
    return found


def room_of(module: str) -> str | None:
    """The room that a dotted module belongs to, or None for foreign modules."""
    parts = module.split(".")
    if parts[0] != "quantctl":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in MAY else "quantctl"


def is_front_door(module: str) -> bool:
    return module not in ("quantctl", "quantctl.") and room_of(module) == "quantctl"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in FILES
        if path.relative_to(ROOT).parts[0] == room
        for module, line in imports(path)
        if room_of(module) not in (None, "quantctl", *MAY[room])
        or (room != "quantctl" and is_front_door(module))
    ]
    assert not wrong


def test_nothing_imports_a_room_by_its_bare_name_or_relatively() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in FILES
        for module, line in imports(path)
        if module == "." or module.split(".")[0] in ("contracts", "lake", "steps", "workflows")
    ]
    assert not wrong


def test_steps_touch_no_disk_network_clock_or_engine() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in FILES
        if path.relative_to(ROOT).parts[0] == "steps"
        for module, line in imports(path)
        if module.split(".")[0] in IMPURE
    ]
    assert not wrong


def test_no_product_code_imports_pandas() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in FILES
        for module, line in imports(path)
        if module.split(".")[0] == "pandas"
    ]
    assert not wrong


def test_the_graph_has_files_of_every_room() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(ROOMS)


def test_the_checker_sees_an_arrow_that_runs_up(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("from quantctl.workflows import runner\nimport steps.x\nfrom . import y\n")
    seen = [module for module, _ in imports(bad)]
    assert "quantctl.workflows" in seen
    assert "steps.x" in seen
    assert "." in seen
    assert room_of("quantctl.workflows.runner") == "workflows"
    assert is_front_door("quantctl.settings")
    assert not is_front_door("quantctl.contracts.errors")
