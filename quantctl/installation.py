"""Where this installation keeps things, and what a run may use, as plain values from the settings."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import quantctl
from quantctl.contracts.errors import ConfigError
from quantctl.contracts.records.run import PROTOCOL, CodeFacts
from quantctl.contracts.settings import Settings
from quantctl.lake.state import default_url, normal
from quantctl.workflows.runtime import Places
from quantctl.workflows.worker import Limits

RECORDED_PACKAGES = ("clarabel", "cvxpy", "dbos", "duckdb", "numpy", "polars", "pydantic", "scipy")


def places(settings: Settings) -> Places:
    """Directories and state database of these settings, absolute; they need not exist yet.

    Raises `PATH_NOT_DIRECTORY` (exit 2) where a file stands in the place of a directory.
    """
    paths = settings.paths
    data = _directory("data_dir", Path(paths.data_dir).resolve())
    _directory("data_dir", data / "state")

    def below(key: str, name: str) -> Path:
        setting = getattr(paths, key)
        return _directory(key, Path(setting).resolve() if setting else data / name)

    return Places(
        data_dir=data,
        lakehouse_dir=below("lakehouse_dir", "lakehouse"),
        artifacts_dir=below("artifacts_dir", "artifacts"),
        export_dir=below("export_dir", "export"),
        state_url=normal(paths.state_url.get_secret_value()) or default_url(data),
    )


def _directory(key: str, path: Path) -> Path:
    standing = next(place for place in (path, *path.parents) if place.exists())
    if not standing.is_dir():
        raise ConfigError(
            "PATH_NOT_DIRECTORY", f"paths.{key} is {path}, but {standing} is not a directory",
            where=f"paths.{key}", remedy=f"set paths.{key} to a directory, or move that file away",
        )  # fmt: skip
    return path


def limits(settings: Settings) -> Limits:
    """What a worker of these settings may use."""
    orchestration = settings.orchestration
    return Limits(
        min_free_mb=int(orchestration.min_free_mb), grace_seconds=float(orchestration.grace_seconds),
        lease_seconds=float(orchestration.lease_seconds), max_runs=orchestration.max_runs,
        children=(orchestration.cpus or min(2, os.cpu_count() or 1)) if orchestration.parallel else 1,
    )  # fmt: skip


def code_facts() -> CodeFacts:
    """Version, commit and lock of the code that runs."""
    root = Path(quantctl.__file__).resolve().parent.parent
    lock = root / "requirements.lock"
    commit, dirty = _git(root)
    return CodeFacts(
        version=quantctl.__version__,
        git_commit=commit,
        dirty=dirty,
        lock_sha256=hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
        workflow_protocol=PROTOCOL,
    )


def environment_facts() -> dict[str, Any]:
    """Python, platform and the versions of the packages that decide numbers."""
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": f"{sys.platform}-{platform.machine()}",
        "packages": versions,
    }


def _git(root: Path) -> tuple[str | None, bool | None]:
    if not (root / ".git").exists():
        return None, None
    try:
        commit = _output(root, "rev-parse", "HEAD")
        return commit, bool(_output(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _output(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
