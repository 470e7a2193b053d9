"""The mapping from folders to packages; everything else stands in pyproject.toml.

The folders lie beside `quantctl/`, not in it, so that the lifecycle is read from the listing. The
links inside `quantctl/` serve editors and type checkers; they are never packaged.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).parent
CODE = ("contracts", "lake", "steps", "workflows")
DATA = ("profiles", "sql")


def code_packages() -> list[str]:
    """`quantctl.<folder>` and all packages below it, and the packages of the front door itself."""
    found = [
        "quantctl",
        *(f"quantctl.{name}" for name in find_namespace_packages("quantctl", include=["commands*"])),
    ]
    for folder in CODE:
        below = find_namespace_packages(folder)
        found += [f"quantctl.{folder}", *(f"quantctl.{folder}.{name}" for name in below)]
    return [name for name in found if "__pycache__" not in name]


def data_packages() -> list[str]:
    """Folders of YAML and SQL, packaged as data."""
    found = []
    for folder in DATA:
        found.append(f"quantctl.{folder}")
        found += [
            f"quantctl.{folder}.{path.name}" for path in sorted((HERE / folder).iterdir()) if path.is_dir()
        ]
    return found


setup(
    packages=[*code_packages(), *data_packages()],
    package_dir={f"quantctl.{folder}": folder for folder in (*CODE, *DATA)},
    package_data={"": ["py.typed", "*.yaml", "*.sql", "*.html", "*.j2"]},
    include_package_data=False,
)
