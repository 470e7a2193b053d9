"""The named views: one file each in `sql/`, which is the truth; the first line is its sentence."""

from __future__ import annotations

import functools
from importlib import resources


@functools.cache
def definitions() -> dict[str, str]:
    """View name -> query."""
    folder = resources.files("quantctl") / "sql"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return {f.name.removesuffix(".sql"): f.read_text() for f in files}


def sentences() -> dict[str, str]:
    """View name -> what it shows."""
    return {name: text.splitlines()[0].removeprefix("-- ") for name, text in definitions().items()}
