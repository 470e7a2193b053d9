"""`quantctl init`: a directory with profiles, Makefile, `dbos start`'s file and the tables of the state."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from quantctl.contracts.errors import ConfigError
from quantctl.options import Json
from quantctl.output import emit
from quantctl.profile_files import SHIPPED

app = typer.Typer(rich_markup_mode=None)

MAKEFILE = """\
# Runs of this directory. Each recipe is quantctl calls joined by &&.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PROFILE ?=

.PHONY: env-check flow-production
env-check:
\tquantctl doctor

flow-production:
\t@test -n "$(PROFILE)" || { echo "PROFILE is required" >&2; exit 2; }
\tquantctl data candidates --profile $(PROFILE) && quantctl run --profile $(PROFILE)
"""
DBOS_CONFIG = """\
# What `dbos start` runs. The worker takes its database from our settings, so it works with
# TV_STATE_URL unset; other `dbos` commands need
#   export TV_STATE_URL=$(quantctl doctor --state-url)
# because without it they make a database of their own.
name: quantctl
language: python
runtimeConfig:
  start:
    - exec quantctl worker
system_database_url: ${TV_STATE_URL}
"""
WRITTEN = ("profiles", "Makefile", "dbos-config.yaml")
DIRECTORIES = ("data/lakehouse", "data/artifacts/summaries/runs", "data/export", "data/state")


@app.command("init")
def init(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(help="Directory to prepare.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace the files that exist.")] = False,
    as_json: Json = False,
) -> None:
    """Prepare a working directory."""
    taken = [name for name in WRITTEN if (directory / name).exists()]
    if taken and not force:
        raise ConfigError(
            "INIT_EXISTS", f"{directory} already holds {' and '.join(taken)}", where=str(directory),
            remedy="quantctl init --force, or another directory",
        )  # fmt: skip
    for name in DIRECTORIES:
        (directory / name).mkdir(parents=True, exist_ok=True)
    shutil.copytree(SHIPPED, directory / "profiles", dirs_exist_ok=True)
    (directory / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    (directory / "dbos-config.yaml").write_text(DBOS_CONFIG, encoding="utf-8")
    state = _state_database(ctx, directory / "data")
    made = [*DIRECTORIES, *WRITTEN, state]
    emit("init", {"directory": str(directory), "made": made}, "\n".join(made), as_json=as_json)


def _state_database(ctx: typer.Context, data_dir: Path) -> str:
    """Make the tables where the settings keep the state, else in the directory; returns what may be shown."""
    from quantctl.invocation import invocation
    from quantctl.lake.state import default_url, display, open_engine

    paths = invocation(ctx).resolve().settings.paths
    url = paths.state_url.get_secret_value() or default_url(data_dir)
    open_engine(url).dispose()
    return display(url)
