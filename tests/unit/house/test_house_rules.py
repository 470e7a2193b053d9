"""Rules of the house that a general linter does not know."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantctl.contracts.codes import CODES

ROOT = Path(__file__).resolve().parents[3]
CODE = [
    path
    for room in ("contracts", "lake", "steps", "workflows", "quantctl")
    for path in sorted((ROOT / room).rglob("*.py"))
    if not any(parent.is_symlink() for parent in path.parents)
]
GROUPING = ROOT / "contracts" / "grouping.py"
ERRORS = (
    "ConfigError", "ContractError", "DataMissing", "DataUnhealthy", "GateFailed", "Infeasible",
    "SolverFailed", "BoundaryViolation", "InternalError", "QuantError", "refusal", "one_of",
)  # fmt: skip
FAULTS = ("EnvironmentFault", "DiskFault", "MemoryFault", "StateUnreachable", "Interrupted")


def calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node


def name_of(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"  # type: ignore[attr-defined]


def keeps_order(call: ast.Call) -> bool:
    return any(
        word.arg == "maintain_order" and isinstance(word.value, ast.Constant) and word.value.value is True
        for word in call.keywords
    )


def test_float_aggregation_goes_through_the_grouping_helper() -> None:
    wrong = [
        place(path, call)
        for path in CODE
        if path != GROUPING
        for call in calls(path)
        if name_of(call) in ("group_by", "group_by_dynamic", "rolling")
        and isinstance(call.func, ast.Attribute)
        and not _is_series_method(call)
    ]
    assert not wrong, "use quantctl.contracts.grouping.grouped"


def _is_series_method(call: ast.Call) -> bool:
    return name_of(call) == "rolling" and not call.args


def test_unique_keeps_the_order_of_rows() -> None:
    wrong = [
        place(path, call)
        for path in CODE
        for call in calls(path)
        if name_of(call) == "unique"
        and isinstance(call.func, ast.Attribute)
        and not (isinstance(call.func.value, ast.Name) and call.func.value.id == "np")
        and not keeps_order(call)
    ]
    assert not wrong, "unique(maintain_order=True)"


def first_text(call: ast.Call) -> str | None:
    for argument in (*call.args, *(word.value for word in call.keywords if word.arg == "code")):
        text = argument.value if isinstance(argument, ast.Constant) else None
        if isinstance(text, str) and re.fullmatch(r"[A-Z][A-Z0-9_]+", text):
            return text
    return None


def test_every_code_that_is_raised_has_a_row_with_an_exit() -> None:
    wrong = [
        f"{place(path, call)} {code}"
        for path in CODE
        for call in calls(path)
        if name_of(call) in ERRORS
        and (code := first_text(call))
        and (code not in CODES or CODES[code].exit is None)
    ]
    assert not wrong


def test_every_code_of_a_fault_or_finding_has_a_row() -> None:
    wrong = [
        f"{place(path, call)} {code}"
        for path in CODE
        for call in calls(path)
        if name_of(call) in (*FAULTS, "Finding", "finding", "Veto", "veto")
        and (code := first_text(call))
        and code not in (*CODES, "ERROR", "WARN", "INFO", "HARD", "SOFT", "STRATEGY", "LONG", "SHORT")
    ]
    assert not wrong


@pytest.mark.parametrize("name", sorted(CODES))
def test_a_row_says_a_sentence_and_a_known_exit(name: str) -> None:
    row = CODES[name]
    assert re.fullmatch(r"[A-Z][A-Z0-9_]*", name)
    assert row.exit in (None, 0, 1, 2, 3, 4, 5, 70)
    assert row.sentence.endswith(".")


def test_every_file_opens_with_a_sentence_and_postponed_annotations() -> None:
    wrong = []
    for path in CODE:
        text = path.read_text(encoding="utf-8")
        if not text.strip():
            continue
        bare = path.name != "__init__.py" and "from __future__ import annotations" not in text
        if ast.get_docstring(ast.parse(text)) is None or bare:
            wrong.append(str(path.relative_to(ROOT)))
    assert not wrong


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in CODE
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long


def test_no_name_says_nothing() -> None:
    empty = {"utils", "helper", "helpers", "manager", "misc", "common"}
    assert not [path.relative_to(ROOT) for path in CODE if path.stem in empty]


def test_nothing_is_left_to_do_later() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert not [
        f"{path.relative_to(ROOT)}:{number}"
        for path in CODE
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if marks.search(line)
    ]
