"""What the pages name exists: files behind links, commands, options, make targets and codes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from quantctl.cli import app
from quantctl.contracts.codes import CODES

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WRITTEN = [page for page in PAGES if "reference" not in page.parts]
CODE = re.compile(r"`([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)`")
# Names in capitals that are no codes: variables, and what a life or a run is called.
OTHER = re.compile(r"TV_|OTEL_|RUN_ID|RUN_LONG|RUN_SHORT|OK_MARKET_CLOSED|DEGRADED_GAPS|QUANTCTL_")


def commands(page: Path) -> list[list[str]]:
    """Every `quantctl` call of a page's shell blocks, in words."""
    found = []
    for block in re.findall(r"```(?:sh|text|console)?\n(.*?)```", page.read_text(), re.S):
        for line in block.replace("\\\n", " ").splitlines():
            for call in re.findall(r"(?:^|&& |[$] |\$\()(?:TV_\S+ )?(quantctl [^&|)#]*)", line.strip()):
                found.append(shlex.split(call.replace('"', " ").replace("'", " "))[1:])
    return found


CALLS = sorted({(page.name, tuple(call)) for page in WRITTEN for call in commands(page)})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(), re.M)
            assert anchor in [re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings]


@pytest.mark.parametrize(
    ("page", "call"), CALLS, ids=lambda value: value if isinstance(value, str) else "_".join(value)[:60]
)
def test_every_command_of_the_pages_exists_with_its_options(page: str, call: tuple[str, ...]) -> None:
    assert page
    command, words = typer.main.get_command(app), list(call)
    known = {name for parameter in command.params for name in parameter.opts}
    while hasattr(command, "get_command") and words:
        inner = command.get_command(None, words[0])
        if inner is None:
            break
        command, words = inner, words[1:]
        known |= {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    assert command.name is not None
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known | {"--help"}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_code_of_a_page_has_a_row(page: Path) -> None:
    assert [
        code for code in CODE.findall(page.read_text()) if code not in CODES and not OTHER.match(code)
    ] == []


def test_every_make_target_of_the_pages_exists() -> None:
    targets = re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), re.M)
    known = {name for line in targets for name in line.split()}
    named = {
        target
        for page in WRITTEN
        for block in re.findall(r"```(?:sh|text)?\n(.*?)```", page.read_text(), re.S)
        for target in re.findall(r"(?:^|\s)make ([a-z-]+)", block)
    }
    assert named <= known
