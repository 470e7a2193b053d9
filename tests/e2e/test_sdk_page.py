"""The examples of docs/sdk.md, executed in the directory of a finished demo."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

DOC = Path(__file__).parents[2] / "docs" / "sdk.md"
LIBRARY = "## The kernels as a library"

pytestmark = pytest.mark.slow


def failures(text: str) -> str:
    """What doctest has to say about the examples of a page; empty when they all hold."""
    lines: list[str] = []
    test = doctest.DocTestParser().get_doctest(text, {}, DOC.name, str(DOC), 0)
    assert test.examples
    doctest.DocTestRunner(verbose=False).run(test, out=lines.append)
    return "".join(lines)


def test_the_sdk_examples_hold_on_the_demo(demo: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo[0].parents[1])
    assert failures(DOC.read_text().partition(LIBRARY)[0]) == ""


def test_the_kernels_give_the_numbers_of_the_page() -> None:
    assert failures(DOC.read_text().partition(LIBRARY)[2]) == ""
