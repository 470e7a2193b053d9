"""Postgres for trials: the fixture of the whole suite, which is a file and no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

NAME = "postgres"


def postgres() -> ModuleType:
    """The module `tests/postgres.py`."""
    if NAME not in sys.modules:
        path = Path(__file__).parents[2] / f"{NAME}.py"
        spec = importlib.util.spec_from_file_location(NAME, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = module
        spec.loader.exec_module(module)
    return sys.modules[NAME]
