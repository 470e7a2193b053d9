"""The Python SDK. The command line is a thin wrapper over it; no call ever exits the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantctl import installation
from quantctl.contracts.errors import DataMissing
from quantctl.contracts.settings import Settings
from quantctl.operation import Operation
from quantctl.reading import Reading
from quantctl.run_results import RunResult
from quantctl.settings import Overrides, Resolved, resolve

if TYPE_CHECKING:
    from quantctl.batches import Wanted
    from quantctl.contracts.records.run import RunRequest
    from quantctl.workflows.execution import Executor

__all__ = ["QuantSDK", "RunResult"]


class QuantSDK(Reading, Operation):
    """Runs, artifacts and ledgers of one installation.

    Parameters
    ----------
    overrides : `key.path=value` texts or a map, the highest source of settings
    profiles_dir : where profiles are looked up first (None: `paths.profiles_dir`)
    config : a settings file applied after the profile
    env : process environment (None: the real one)
    stop : set it to let the current stage finish and leave the run resumable
    watch : called several times a second while a run is executed or followed
    """

    def __init__(
        self,
        *,
        overrides: Overrides = (),
        profiles_dir: Path | None = None,
        config: Path | None = None,
        env: Mapping[str, str] | None = None,
        stop: threading.Event | None = None,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self._sources: dict[str, Any] = {
            "overrides": overrides, "profiles_dir": profiles_dir, "config": config, "env": env,
        }  # fmt: skip
        self.stop = stop or threading.Event()
        self.watch = watch
        self.base = resolve(**self._sources)
        self.places = installation.places(self.base.settings)

    def resolve(self, profile: str | None) -> Resolved:
        """Settings of a profile under this SDK's sources; `PROFILE_UNKNOWN` with the nearest name."""
        return resolve(profile, require_profile=True, **self._sources)

    # runs

    def run_pipeline(
        self,
        name: str,
        *,
        profile: str | None = None,
        run_id: str | None = None,
        snapshot: str = "latest",
        as_of: str | None = None,
        params: Mapping[str, Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        remote: bool | None = None,
        wait: bool = True,
    ) -> RunResult:
        """Run a pipeline, or attach to the run of that id.

        params : settings keys (`selection.top_n`) that override every other source
        arguments : of a DataOps pipeline
        wait : False enqueues the run for a worker and returns

        Raises `RUN_ID_CONFLICT` for a known id with other inputs, and whatever stops the run before it
        begins; a run that fails is returned with state FAILED.
        """
        request = self.request(
            name, profile=profile, run_id=run_id, snapshot=snapshot, as_of=as_of, params=params,
            arguments=arguments,
        )  # fmt: skip
        return self.start(request, remote=remote, wait=wait)

    def request(
        self,
        name: str,
        *,
        profile: str | None = None,
        run_id: str | None = None,
        snapshot: str = "latest",
        as_of: str | None = None,
        params: Mapping[str, Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> RunRequest:
        """The pinned input of a run, without starting it (parameters as `run_pipeline`)."""
        from quantctl import requests

        resolved = self._with(params, profile, needed=not name.startswith("data."))
        return requests.build(
            resolved, name, run_id=run_id, snapshot=snapshot, as_of=as_of, arguments=arguments
        )

    def start(self, request: RunRequest, *, remote: bool | None = None, wait: bool = True) -> RunResult:
        """Run a request, or attach to the run of its id."""
        settings = Settings.model_validate(request.settings)
        return self.result(self._executor(settings).run(request, remote=remote, wait=wait))

    def batch(self, profiles: Sequence[str], *, wait: bool = True, **wanted: Any) -> RunResult:
        """Run profiles at many dates, each (profile, date) as a run of its own.

        wanted : `as_of` (dates), or `first`, `last` and `every`; `pipeline`, `run_id`, `snapshot`,
            `keep_going`, `window` (see `quantctl.batches.Wanted`)

        Raises what `quantctl.batches.build` names, before anything is written. A batch with a failed child
        is returned with state FAILED and the code of the first one; `load_artifact(run_id, "batch")` has
        every child's end.
        """
        from quantctl.batches import Wanted

        return self.start(self.batch_request(Wanted(tuple(profiles), **wanted)), wait=wait)

    def batch_request(self, wanted: Wanted) -> RunRequest:
        """The pinned input of a batch, without starting it."""
        from quantctl.batches import build

        return build(self, wanted)

    def resume(self, run_id: str, *, adopt_version: bool = False) -> RunResult:
        """Continue an interrupted run; a finished one is returned as it is.

        adopt_version : a run of another workflow protocol goes on under this one, else it is
            `RUN_VERSION_MISMATCH`; with other stages it is `RUN_VERSION_STAGES`
        """
        executor = self._executor(self.base.settings)
        return self.result(executor.resume(run_id, adopt_version=adopt_version))

    def retry(self, run_id: str, from_stage: str | None = None) -> RunResult:
        """Run a failed run again from its first failed stage, or an earlier one."""
        return self.result(self._executor(self.base.settings).retry(run_id, from_stage))

    def cancel(self, run_id: str, reason: str = "") -> RunResult:
        """Cancel a run; one that executes ends before its next stage, which is waited for.

        Raises `RUN_FINISHED` for one that has ended, or ends before it could be cancelled.
        """
        return self.result(self._executor(self.base.settings).cancel(run_id, reason))

    def fork(
        self,
        run_id: str,
        *,
        from_stage: str,
        new_id: str | None = None,
        params: Mapping[str, Any] | None = None,
        remote: bool | None = None,
        wait: bool = True,
    ) -> RunResult:
        """A new run that keeps the stages of `run_id` before `from_stage`, and runs the others itself.

        new_id : id of the new run (None: profile and time)
        params : settings keys that differ from the source's; no other source of settings is asked

        Raises `FORK_PARAMS_CHANGED` where a key would change a kept stage, `ARTIFACT_CORRUPT` where a
        kept file is not the recorded one, and what `quantctl.forks.build` names.
        """
        request = self.fork_request(run_id, from_stage=from_stage, new_id=new_id, params=params)
        return self.start(request, remote=remote, wait=wait)

    def fork_request(
        self,
        run_id: str,
        *,
        from_stage: str,
        new_id: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> RunRequest:
        """The pinned input of a fork, without starting it (parameters as `fork`)."""
        from quantctl import forks

        return forks.build(
            self.places, run_id, from_stage, paths=self.base.settings.paths, new_id=new_id,
            overrides=self._overridden(params),
        )  # fmt: skip

    # upkeep

    def rebuild_catalog(self) -> int:
        """Make the SQL projection anew from the state database; returns the number of runs."""
        from quantctl.workflows.projection import rebuild_all

        return rebuild_all(self.places)

    def collect_garbage(self, *, older_than_hours: float = 24.0, dry_run: bool = False) -> list[str]:
        """Remove temporary files that a kill left behind; returns their paths."""
        from quantctl.housekeeping import collect_garbage

        return collect_garbage(self.places, older_than_hours=older_than_hours, dry_run=dry_run)

    def newest_snapshot(self) -> dict[str, Any]:
        """Facts of the newest published snapshot (`LAKE_MISSING`, exit 3)."""
        from quantctl.lake.snapshot import Lake

        return Lake(self.places.lakehouse_dir).snapshot("latest").facts()

    def create_snapshot(self, *, as_of: str | None = None) -> str:
        """Publish the newest version of the lake (DataOps only); returns the snapshot's id."""
        result = self.run_pipeline("data.publish", arguments={"scanners": {}, "as_of": as_of})
        if result.state != "SUCCESS":
            raise DataMissing(
                result.status.code or "LAKE_MISSING", result.status.message or "", remedy=result.remedy
            )
        return str(result.metrics["data.publish"]["snapshot"])

    def validate_foundation(
        self, snapshot: str = "latest", *, profile: str, as_of: str | None = None
    ) -> dict[str, Any]:
        """The foundation of a profile on a snapshot, judged without a run: the context of
        `selection.ingestion` with its findings and L0 gates. Raises nothing on findings."""
        return self.run_stage("selection.ingestion", profile=profile, snapshot=snapshot, as_of=as_of)

    def audit(self, run_id: str) -> dict[str, Any]:
        """The combined, non-destructive audit of a run: `{ok, parts, path}`."""
        from quantctl.auditing import audit

        return audit(self, run_id)

    # stages

    def run_stage(
        self,
        stage: str,
        *,
        params: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        profile: str | None = None,
        snapshot: str = "latest",
        as_of: str | None = None,
    ) -> dict[str, Any]:
        """Run one stage by itself; returns its context: status, error, outputs, findings, metrics, gates.

        With `run_id` it takes its inputs from that run, which is not changed; without, every stage
        before it is run too. Raises `STAGE_UNKNOWN` (exit 2) with the nearest name.
        """
        from quantctl.single_stage import run_stage

        return run_stage(
            self,
            stage,
            params=dict(params or {}),
            run_id=run_id,
            profile=profile,
            snapshot=snapshot,
            as_of=as_of,
        )

    def list_stages(self, tag: str | None = None) -> list[dict[str, Any]]:
        """Every registered stage: id, tag, purpose, inputs, outputs, gates."""
        from quantctl import stage_catalogue

        return stage_catalogue.rows(tag)

    def stage_schema(self, stage: str) -> dict[str, Any]:
        """JSON Schema of a stage's parameters, and the contracts of what it reads and writes."""
        from quantctl import stage_catalogue

        return stage_catalogue.schema(stage)

    def _with(self, params: Mapping[str, Any] | None, profile: str | None, *, needed: bool) -> Resolved:
        sources = self._sources | ({"overrides": self._overridden(params)} if params else {})
        return resolve(profile, require_profile=needed, **sources)

    def _overridden(self, params: Mapping[str, Any] | None) -> dict[str, Any]:
        """This SDK's overrides, and above them `params`."""
        given = self._sources["overrides"]
        pairs = dict(given) if isinstance(given, Mapping) else dict(text.split("=", 1) for text in given)
        return pairs | dict(params or {})

    def _executor(self, settings: Settings) -> Executor:
        from quantctl.workflows.execution import Executor

        return Executor(self.places, installation.limits(settings), self.stop, self.watch)
