"""Print the mirror of the house: sizes of files and functions, docstrings, annotations, tests per line.

A mirror, not a fence: it judges nothing. Uses the standard library only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("contracts", "lake", "steps", "workflows", "quantctl")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Shape(NamedTuple):
    """What one folder looks like."""

    files: int
    lines: int
    functions: list[int]
    public: int
    documented: int
    annotated: int
    longest_file: tuple[int, str]
    longest_function: tuple[int, str]


def sources(room: str) -> list[Path]:
    """Python files of a folder, links left out."""
    return [
        path
        for path in sorted((ROOT / room).rglob("*.py"))
        if not any(parent.is_symlink() for parent in path.parents)
    ]


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: Function) -> int:
    """Lines of the body without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def annotated(function: Function) -> bool:
    """Whether the return and every argument but self and cls is annotated."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    given = [argument for argument in arguments if argument.arg not in ("self", "cls")]
    return function.returns is not None and all(argument.annotation is not None for argument in given)


def public_nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """Public classes, functions and methods, and the module itself."""
    yield tree
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node
            yield from (
                item for item in node.body if isinstance(item, Function) and not item.name.startswith("_")
            )
        elif isinstance(node, Function) and not node.name.startswith("_"):
            yield node


def shape(room: str) -> Shape:
    """Measure a folder."""
    files, lines, sizes, public, documented, typed = 0, 0, [], 0, 0, 0
    longest_file, longest_function = (0, "-"), (0, "-")
    for path in sources(room):
        text = path.read_text(encoding="utf-8")
        count, name = len(text.splitlines()), path.relative_to(ROOT).as_posix()
        if not count:
            continue
        tree = ast.parse(text)
        files, lines = files + 1, lines + count
        longest_file = max(longest_file, (count, name))
        nodes = list(public_nodes(tree))
        public += len(nodes)
        documented += sum(ast.get_docstring(node) is not None for node in nodes)  # type: ignore[arg-type]
        for function in functions(tree):
            sizes.append(body_lines(function))
            typed += annotated(function)
            longest_function = max(longest_function, (sizes[-1], f"{name}:{function.name}"))
    return Shape(files, lines, sizes, public, documented, typed, longest_file, longest_function)


def quantile(sizes: list[int], share: float) -> int:
    """The smallest size that at least `share` of the sizes do not exceed."""
    ordered = sorted(sizes)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0


def percent(part: int, whole: int) -> str:
    """A share in per cent."""
    return f"{100 * part / whole:.0f} %" if whole else "-"


def main() -> None:
    """Print the mirror."""
    print(
        f"{'room':<11}{'files':>6}{'lines':>8}{'functions':>11}{'median':>8}{'p90':>6}{'docs':>8}{'types':>8}"
    )
    shapes = {room: shape(room) for room in ROOMS}
    for room, s in shapes.items():
        middle = median(s.functions) if s.functions else 0
        sizes = f"{len(s.functions):>11}{middle:>8.0f}{quantile(s.functions, 0.9):>6}"
        shares = f"{percent(s.documented, s.public):>8}{percent(s.annotated, len(s.functions)):>8}"
        print(f"{room:<11}{s.files:>6}{s.lines:>8}{sizes}{shares}")
    for room, s in shapes.items():
        file, function = s.longest_file, s.longest_function
        print(f"{room}: longest file {file[1]} {file[0]}, longest function {function[1]} {function[0]}")
    tests = shape("tests")
    facts = sum(
        function.name.startswith("test_")
        for path in sources("tests")
        for function in functions(ast.parse(path.read_text(encoding="utf-8")))
    )
    code = sum(s.lines for s in shapes.values())
    print(f"tests: {facts} facts, {tests.lines} lines, {tests.lines / code:.2f} lines per line of code")


if __name__ == "__main__":
    main()
