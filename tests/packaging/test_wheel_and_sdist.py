"""What is packaged is the tree, with links or without them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ("contracts", "lake", "steps", "workflows")
DATA = ("profiles", "sql")
LINKS = (*CODE, *DATA)
KEEP = (*LINKS, "quantctl", "tests", "docs", ".ci", "README.md", "LICENSE", "CHANGELOG.md", "Makefile",
        "MANIFEST.in", "pyproject.toml", "setup.py", "dbos-config.yaml", "requirements.lock")  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        int(metadata.version("setuptools").split(".")[0]) < 77,
        reason="setuptools 77 or newer builds the package",
    ),
]


def copied(target: Path, *, links: bool) -> Path:
    """A checkout below `target`, its links kept or turned into text files as git does without symlinks."""
    target.mkdir()
    skip = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")
    for name in KEEP:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, symlinks=True, ignore=skip)
        elif source.exists():
            shutil.copy2(source, target / name)
    for name in LINKS:
        link = target / "quantctl" / name
        if link.is_symlink() or link.exists():
            link.unlink()
        if links:
            link.symlink_to(f"../{name}", target_is_directory=True)
        else:
            link.write_text(f"../{name}")
    return target


def built(checkout: Path, kind: str) -> Path:
    """The wheel or sdist built from a checkout, without an index."""
    out = checkout / "dist"
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(out), "."]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (found,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return found


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def tree() -> set[str]:
    """Paths that the wheel must have, read from the folders."""
    found = set()
    for folder in LINKS:
        suffixes = (".py",) if folder in CODE else (".yaml", ".sql")
        found |= {
            f"quantctl/{path.relative_to(ROOT).as_posix()}"
            for path in (ROOT / folder).rglob("*")
            if path.suffix in (*suffixes, ".html", ".j2") and "__pycache__" not in path.parts
        }
    own = [*(ROOT / "quantctl").glob("*.py"), *(ROOT / "quantctl" / "commands").glob("*.py")]
    return found | {path.relative_to(ROOT).as_posix() for path in own} | {"quantctl/py.typed"}


@pytest.fixture(scope="module")
def with_links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("links") / "checkout", links=True)


@pytest.fixture(scope="module")
def without_links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("texts") / "checkout", links=False)


@pytest.fixture(scope="module")
def wheel(with_links: Path) -> Path:
    return built(with_links, "wheel")


@pytest.fixture(scope="module")
def wheel_without_links(without_links: Path) -> Path:
    return built(without_links, "wheel")


def test_the_wheel_holds_exactly_the_tree(wheel: Path) -> None:
    assert names(wheel) == tree()


def test_the_wheel_is_the_same_where_links_are_text_files(wheel: Path, wheel_without_links: Path) -> None:
    assert names(wheel_without_links) == names(wheel)


def test_the_sdist_builds_the_same_wheel(with_links: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(built(with_links, "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert names(built(unpacked, "wheel")) == names(wheel)
    assert (unpacked / "LICENSE").is_file()


def test_an_installed_wheel_finds_profiles_and_commands(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "quantctl", "profiles", "validate"],
        cwd=tmp_path, env={**clean(), "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "binance_spot_rating_all_long: ok" in done.stdout


def test_a_link_that_is_text_cannot_shadow_an_installed_package(
    wheel: Path, without_links: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    script = "import quantctl.contracts.errors as e; print(e.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=without_links, env={**clean(), "PYTHONPATH": str(site)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(site)


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TV_")}


def test_the_lock_names_no_index_and_hashes_every_package() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"https?://|file://|--(extra-)?index|--find-links|--trusted", text)
    pins = re.findall(r"^[A-Za-z0-9._-]+==", text, re.MULTILINE)
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text)
    assert len(pins) > 50
    assert all("--hash=sha256:" in block for block in blocks if "==" in block.splitlines()[0])


def test_the_lock_satisfies_the_declared_ranges() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    runtime, _, rest = text.partition("# dev and peers")
    pinned = {normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", runtime, re.MULTILINE)}
    tools = {normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", rest, re.MULTILINE)}
    assert {"polars", "dbos", "cvxpy", "matplotlib", "jinja2"} <= pinned
    assert {"pytest", "mypy", "ruff", "skfolio", "setuptools"} <= tools | pinned
    assert "pytest" not in pinned


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_links_in_the_tree_are_relative_and_lead_to_the_folders() -> None:
    for name in LINKS:
        link = ROOT / "quantctl" / name
        if link.is_symlink():
            assert os.readlink(link) == f"../{name}"
        else:
            assert link.read_text() == f"../{name}"
