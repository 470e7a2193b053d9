"""DataOps stages called as the runner calls them, on lakehouses of the test."""

from __future__ import annotations

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quantctl.cli import main
from quantctl.contracts.settings import Settings
from quantctl.contracts.stage import RunFacts
from quantctl.lake.snapshot import Lake

HEAD = "symbol,date,open,high,low,close,volume\n"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def call():
    """`call(stage, lake, request, run_id, now=..., section={key: value})` -> outcome."""

    def called(function, lake, request, run_id, now=NOW, **sections):
        facts = RunFacts(
            run_id=run_id, profile="development", trace_id="0" * 32, pipeline="data", as_of="", snapshot="",
            manifest_sha256="0" * 64, annualisation=365, code_version="0",
        )  # fmt: skip
        given = {"lake": lake, "request": request, "now": now, "run": facts}
        if function.spec.params is not None:
            settings = Settings.model_validate(sections)
            params = {name: getattr(settings, name) for name in function.spec.params.model_fields}
            given["params"] = function.spec.params(**params)
        wanted = function.__annotations__
        return function(**{name: value for name, value in given.items() if name in wanted})

    return called


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real market data; tests that need it are skipped where it is absent."""
    default = Path(__file__).parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("QUANTCTL_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip("no real market data here (QUANTCTL_SHARED_DATA)")
    return folder


class Market:
    """A data directory of its own, with commands run in this process."""

    def __init__(self, root):
        self.root = root
        self.data = root / "data"

    def command(self, *words):
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(io.StringIO()):
            code = main(["--set", f"paths.data_dir={self.data}", "data", *map(str, words), "--json"])
        return code, json.loads(said.getvalue())

    def csv(self, *rows, name="bars.csv"):
        path = self.root / name
        path.write_text(HEAD + "\n".join(rows) + "\n")
        return path

    def bring(self, path, *words):
        """Import; returns (exit code, error or finding code, import report)."""
        code, body = self.command("import", path, *words)
        body = body.get("data") or body
        folder = self.data / "artifacts" / "summaries" / "runs" / str(body.get("run_id"))
        report = folder / "reports" / "import_report.json"
        failed = body.get("error", body).get("code")
        return code, failed, json.loads(report.read_bytes()) if report.exists() else None

    def bars(self):
        return Lake(self.data / "lakehouse").snapshot().table("bars_1d")

    def untouched(self):
        return Lake(self.data / "lakehouse").log.head() is None


@pytest.fixture
def market(tmp_path):
    return Market(tmp_path)
