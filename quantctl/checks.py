"""The checks of `quantctl doctor`. Each looks at one thing, changes nothing and uses no network."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantctl import checks_of_runs, housekeeping
from quantctl.check import Check
from quantctl.contracts.errors import ConfigError, QuantError, StateUnreachable

if TYPE_CHECKING:
    from quantctl.contracts.settings import Settings
    from quantctl.workflows.runtime import Places

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


def all_checks(settings: Settings, places: Places, root: Path) -> list[Check]:
    """Every check, in the order in which they are printed; `root` holds lock file and dbos-config.yaml."""
    probes: tuple[Callable[[], Check], ...] = (
        python_version,
        lambda: packages(root / "requirements.lock"),
        lambda: directories(places, int(settings.orchestration.min_free_mb)),
        lambda: state_database(places.state_url),
        lambda: state_owner(places),
        lambda: recorded(places),
        lambda: checks_of_runs.workers(places),
        lambda: lake(places.lakehouse_dir, settings.data.freshness.stale_hours),
        lambda: orphans(places.data_dir),
        threads,
        lambda: checks_of_runs.protocol(places),
        lambda: checks_of_runs.interrupted(places),
        lambda: checks_of_runs.queued(places),
        lambda: checks_of_runs.clock(places),
        lambda: checks_of_runs.schedules(places),
        lambda: checks_of_runs.notices(places),
        lambda: engine_config(root / "dbos-config.yaml", places.state_url),
        lambda: stray_database(root / "quantctl.sqlite", places.state_url),
    )
    # Several checks ask the state database; one that is away is told once.
    return list(dict.fromkeys(_guarded(probe) for probe in probes))


def _guarded(probe: Callable[[], Check]) -> Check:
    try:
        return probe()
    except (QuantError, StateUnreachable) as problem:
        return Check("state database", "fail", str(problem), problem.remedy)


def python_version() -> Check:
    """Which Python runs."""
    return Check("python", "ok", f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.prefix}")


def packages(lock: Path) -> Check:
    """Installed versions agree with the lock."""
    if not lock.is_file():
        return Check("packages", "ok", "no requirements.lock here; versions are those of the installation")
    pins = {_normal(name): version for name, version in _PIN.findall(lock.read_text(encoding="utf-8"))}
    installed = {_normal(d.metadata["Name"]): d.version for d in metadata.distributions()}
    differing = [
        f"{name} {installed[name]} (lock {version})"
        for name, version in sorted(pins.items())
        if name in installed and installed[name] != version
    ]
    if differing:
        return Check(
            "packages", "warn", "; ".join(differing), "pip install --require-hashes -r requirements.lock"
        )
    return Check("packages", "ok", f"{len(pins)} pinned, none differs")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def directories(places: Places, min_free_mb: int) -> Check:
    """The data directories can be written, and there is space."""
    from quantctl.lake.files import free_bytes

    for directory in (places.data_dir, places.lakehouse_dir, places.artifacts_dir):
        nearest = next(path for path in (directory, *directory.parents) if path.exists())
        if not os.access(nearest, os.W_OK):
            return Check("directories", "fail", f"{nearest} is not writable", f"make {nearest} writable")
    free = free_bytes(places.data_dir) // 2**20
    if free < min_free_mb:
        return Check("directories", "fail", f"{free} MB free, {min_free_mb} needed", "free disk space")
    return Check("directories", "ok", f"{places.data_dir}: writable, {free} MB free")


def state_database(url: str) -> Check:
    """The state database opens and makes every commit durable."""
    from quantctl.lake import state

    with state.reader(url) as connection:
        if connection is None:
            return Check("state database", "ok", "not created yet")
        told, remedy = state.durability(url, connection)
        try:
            runs = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
        except state.TablesMissing:
            runs = "no"
    if remedy:
        return Check("state database", "warn", told, remedy)
    return Check("state database", "ok", f"{told}, {runs} runs")


def state_owner(places: Places) -> Check:
    """The state database is that of this data directory."""
    try:
        places.check_owner()
    except ConfigError as problem:
        return Check("state owner", "fail", problem.message, problem.remedy)
    return Check("state owner", "ok", "this data directory, or nobody yet")


def recorded(places: Places) -> Check:
    """Every run directory with a ledger is a run of the state database."""
    from quantctl.workflows import unrecorded

    found = unrecorded.directories(places)
    if found:
        told = f"no record of {len(found)} run directories, {found[0]} among them"
        remedy = "restore the state database, or move the directories away"
        return Check("run directories", "fail", told, remedy)
    return Check("run directories", "ok", "the state database knows them all")


def lake(root: Path, stale_hours: float) -> Check:
    """The lake can be read; the newest snapshot's age; no bar of the future."""
    if not root.exists():
        return Check("lake", "ok", "not created yet")
    from quantctl.lake.snapshot import Lake

    try:
        facts: dict[str, Any] = Lake(root).snapshot().facts()
    except QuantError as problem:
        return Check("lake", "warn", str(problem), problem.remedy)
    newest = date.fromisoformat(str(facts["as_of"])[:10])
    today = datetime.now(UTC).date()
    text = f"{facts['id']} as of {newest}"
    if newest > today:
        return Check("lake", "fail", f"{text} is in the future of the clock ({today})", "set the clock")
    if (today - newest).days * 24 > stale_hours:
        return Check(
            "lake", "warn", f"{text}, {(today - newest).days} days old", "import or ingest newer bars"
        )
    return Check("lake", "ok", text)


def orphans(data_dir: Path) -> Check:
    """No temporary files were left by killed processes."""
    found = housekeeping.orphans(data_dir)
    if found:
        return Check("temporary files", "warn", f"{len(found)} orphans", "quantctl doctor --fix")
    return Check("temporary files", "ok", "no orphans")


def threads() -> Check:
    """Thread limits of the environment; kernels pin their own."""
    given = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Check("threads", "ok", f"{cores} cores; {', '.join(given) or 'no limits set'}")


def engine_config(path: Path, url: str) -> Check:
    """`dbos-config.yaml` names the state database of the settings."""
    if not path.is_file():
        return Check("dbos-config.yaml", "ok", "not here")
    import yaml

    declared = str((yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("system_database_url", ""))
    if declared == "${TV_STATE_URL}" and not os.environ.get("TV_STATE_URL"):
        detail = "takes TV_STATE_URL, which is unset: `dbos start` works, other dbos commands need it"
        return Check("dbos-config.yaml", "ok", detail)
    declared = os.path.expandvars(declared)
    if _absolute(declared, path.parent) != _absolute(url, path.parent):
        remedy = "export TV_STATE_URL, or set system_database_url to $(quantctl doctor --state-url)"
        return Check(
            "dbos-config.yaml", "warn", f"names {_shown(declared)}, the settings {_shown(url)}", remedy
        )
    return Check("dbos-config.yaml", "ok", "agrees with the state database")


def stray_database(path: Path, url: str) -> Check:
    """The `dbos` command has made no state database of its own; a worker refuses to start beside one."""
    from quantctl.lake.state import sqlite_path

    ours = sqlite_path(url)
    if not path.exists() or (ours is not None and path.resolve() == ours.resolve()):
        return Check("stray database", "ok", "none")
    remedy = f"remove {path.name}, and export TV_STATE_URL=$(quantctl doctor --state-url) for `dbos workflow`"
    return Check("stray database", "fail", f"{path} was made by the dbos command", remedy)


def _shown(url: str) -> str:
    """A URL without its password; one that is no state URL is not repeated."""
    from quantctl.lake.state import display

    try:
        return display(url) if url else "no database"
    except ConfigError:
        return "another database"


def _absolute(url: str, base: Path) -> str:
    from quantctl.lake.state import normal

    prefix = "sqlite:///"
    if url.startswith(prefix):
        return prefix + str((base / url.removeprefix(prefix)).resolve())
    return normal(url)


def network(urls: dict[str, str]) -> list[Check]:
    """Whether the venues answer (`--network` only)."""
    import httpx

    from quantctl.workflows.telemetry import record_http

    checks = []
    for name, url in urls.items():
        try:
            status = httpx.get(url, timeout=5.0, follow_redirects=False).status_code
            record_http(url, status)
            checks.append(Check(name, "ok", f"answers ({status})"))
        except httpx.HTTPError as problem:
            record_http(url, type(problem).__name__)
            checks.append(Check(name, "fail", type(problem).__name__, f"check the connection to {url}"))
    return checks
