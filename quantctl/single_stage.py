"""Running one stage by itself, in a directory of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quantctl.contracts.errors import ConfigError, DataMissing
from quantctl.contracts.records.run import RunRequest
from quantctl.workflows import runs
from quantctl.workflows.pipelines import PIPELINES
from quantctl.workflows.plain import run_plainly
from quantctl.workflows.plain import run_stage as run_on_artifacts
from quantctl.workflows.registry import build, require_stage

if TYPE_CHECKING:
    from quantctl.sdk import QuantSDK


def run_stage(
    sdk: QuantSDK, stage: str, *, params: dict[str, Any], run_id: str | None, profile: str | None,
    snapshot: str, as_of: str | None,
) -> dict[str, Any]:  # fmt: skip
    """See `QuantSDK.run_stage`."""
    spec = require_stage(stage)
    if spec.tag == "data":
        raise ConfigError(
            "STAGE_NEEDS_RUN", f"{stage} writes the lake and runs durably only",
            remedy=f"quantctl data {stage.partition('.')[2]}",
        )  # fmt: skip
    scratch = sdk.places.artifacts_dir / "stages" / f"{stage}_{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    if run_id is not None:
        request = _request_of(sdk, run_id, params, profile)
        session, outcome = run_on_artifacts(request, sdk.places, scratch, stage)
    else:
        request = sdk.request(
            pipeline_with(stage),
            profile=profile,
            run_id="stage",
            snapshot=snapshot,
            as_of=as_of,
            params=params,
        )
        session, outcomes = run_plainly(request, sdk.places, scratch, stage)
        outcome = outcomes.get(stage) or list(outcomes.values())[-1]
    return {"stage": stage, "directory": str(session.directory.root)} | outcome


def pipeline_with(stage: str) -> str:
    """The pipeline that holds a stage, the full ones first."""
    for name in sorted(PIPELINES, key=lambda name: (name != "alpha.full", name)):
        if any(spec.id == stage for spec in build(name).stages):
            return name
    raise ConfigError("STAGE_UNKNOWN", f"no pipeline holds {stage!r}", remedy="quantctl stage list")


def _request_of(sdk: QuantSDK, run_id: str, params: dict[str, Any], profile: str | None) -> RunRequest:
    request = runs.request_of(sdk.places, run_id)
    if request is None:
        raise DataMissing("RUN_NOT_FOUND", f"there is no run {run_id!r}", remedy="quantctl list")
    if not params:
        return request
    changed = sdk.request(
        request.pipeline, profile=profile or request.profile, run_id=run_id,
        snapshot=request.snapshot.get("id", "latest"), as_of=request.as_of, params=params,
    )  # fmt: skip
    return request.model_copy(update={"settings": changed.settings, "origins": changed.origins})
