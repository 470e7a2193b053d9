"""Run, resume or retry the tiny pipeline in a process of its own, to be killed by the tests."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path


def load_tiny() -> None:
    """Register the tiny pipeline in this process."""
    path = Path(__file__).with_name("tiny.py")
    spec = importlib.util.spec_from_file_location("tiny_pipeline", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_pipeline"] = module
    spec.loader.exec_module(module)
    module.register()


def places(root: Path):
    from quantctl.lake.state import default_url
    from quantctl.workflows.runtime import Places

    url = os.environ.get("TV_STATE_URL") or default_url(root)
    return Places(root, root / "lakehouse", root / "artifacts", root / "export", url)


def request(run_id: str, direction: str = "LONG"):
    from quantctl.contracts.ids import trace_id_of
    from quantctl.contracts.records.run import PROTOCOL, CodeFacts, RunRequest
    from quantctl.contracts.settings import Settings

    settings = Settings.model_validate({"sleeve": {"direction": direction}}).model_dump(mode="json")
    return RunRequest(
        run_id=run_id, profile="tiny", trace_id=trace_id_of(run_id), pipeline="tiny.full",
        created_at="2026-01-01T00:00:00.000000Z", as_of="2026-01-01", annualisation=365,
        snapshot={"id": "none", "manifest_sha256": "0" * 64, "as_of": "2026-01-01"}, settings=settings,
        origins={}, extends_chain=[], profile_sha256=[],
        code=CodeFacts(
            version="0", git_commit=None, dirty=None, lock_sha256=None, workflow_protocol=PROTOCOL
        ),
        env={}, arguments={}, stages=["tiny.double", "tiny.total"], replay=[],
    )  # fmt: skip


def main(root: str, verb: str, run_id: str, direction: str = "LONG") -> int:
    from quantctl.contracts.errors import EnvironmentFault, QuantError
    from quantctl.signals import stop_on_signal
    from quantctl.workflows.execution import Executor
    from quantctl.workflows.serving import serve
    from quantctl.workflows.worker import Limits

    load_tiny()
    stop = stop_on_signal(run_id)
    lease = float(os.environ.get("TINY_LEASE", "15"))
    limits = Limits(min_free_mb=1, grace_seconds=10, lease_seconds=lease)
    executor = Executor(places(Path(root)), limits, stop)
    try:
        if verb == "worker":
            return 0 if serve(places(Path(root)), limits, stop, announce=print) else 2
        if verb == "run":
            found = executor.run(request(run_id, direction))
        elif verb == "resume":
            found = executor.resume(run_id)
        else:
            found = executor.retry(run_id)
    except (QuantError, EnvironmentFault) as problem:
        print(problem.code, problem, file=sys.stderr)
        return problem.exit_code
    print(found.state)
    return found.exit_code or 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
