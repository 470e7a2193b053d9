"""What commands print: aligned tables for people, one versioned JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from quantctl.contracts.errors import ConfigError, EnvironmentFault, QuantError

_NUMBERS = (int, float, type(None))


def document(name: str, data: Any, *, version: int = 1, ok: bool = True) -> dict[str, Any]:
    """The JSON document of a command: `schema` says what `data` is."""
    return {"ok": ok, "schema": f"quantctl.{name}/{version}", "data": data}


def print_json(value: Mapping[str, Any]) -> None:
    """Write one JSON document to stdout; NaN is refused."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2, default=str) + "\n")


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns aligned by width, numbers to the right; an empty table says so."""
    if not rows:
        return "(none)"
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(len(header), *(len(row[i]) for row in texts)) for i, header in enumerate(headers)]
    numeric = [
        all(isinstance(row[i], (int, float)) or row[i] is None for row in rows) for i in range(len(headers))
    ]
    lines = [_line(headers, widths, numeric), _line(["-" * width for width in widths], widths, numeric)]
    return "\n".join([*lines, *(_line(row, widths, numeric) for row in texts)])


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    ]
    return "  ".join(padded).rstrip()


def emit(name: str, data: Any, text: str, *, as_json: bool) -> None:
    """Print `data` as a JSON document, or `text` for people."""
    if as_json:
        print_json(document(name, data))
    else:
        print(text)


def judged(name: str, data: Any, text: str, problem: QuantError | None, *, as_json: bool) -> int:
    """Print what was examined and, where that is a problem, its error as well; returns the exit code."""
    if as_json:
        failure = {} if problem is None else error_document(problem)
        print_json(document(name, data) | failure)
    else:
        print(text)
    if problem is None:
        return 0
    return print_error(problem, as_json=False)


def error_document(problem: QuantError | EnvironmentFault) -> dict[str, Any]:
    """The JSON form of a failure."""
    details: dict[str, Any] = getattr(problem, "details", {})
    error = {
        "code": problem.code,
        "exit": problem.exit_code,
        "message": str(problem),
        "remedy": remedy_of(problem),
        "run_id": details.get("run_id") or getattr(problem, "run_id", None),
        "artifact": details.get("artifact"),
    }
    if "findings" in details:
        error["findings"] = details["findings"]
    return {"ok": False, "error": error}


def remedy_of(problem: QuantError | EnvironmentFault) -> str:
    """Its remedy; for a wrong setting, option or file that names none, where to correct it."""
    if problem.remedy:
        return problem.remedy
    if isinstance(problem, ConfigError):
        return f"correct {problem.where}" if problem.where else "repeat the command with --help"
    return "none known"


def print_error(problem: QuantError | EnvironmentFault, *, as_json: bool) -> int:
    """Print `error[CODE] message` and `remedy: ...` to stderr; return the exit code."""
    print(f"error[{problem.code}] {_one_line(str(problem))}", file=sys.stderr)
    print(f"remedy: {_one_line(remedy_of(problem))}", file=sys.stderr)
    if as_json:
        print_json(error_document(problem))
    return problem.exit_code


def _one_line(text: str) -> str:
    return " ".join(text.split())
