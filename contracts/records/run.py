"""What starts a run: pinned at its start, stored as the workflow's input, never changed."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from quantctl.contracts.canonical import hash_json
from quantctl.contracts.records.fork import ForkedFrom
from quantctl.contracts.stage import RunFacts

PROTOCOL = "alpha.v1"  # order and signatures of stages; bumped on an incompatible change

# Sections that say where, when and how a run is made and who hears of it, not which one it is.
MEANS = ("paths", "orchestration", "schedule", "notify")


class CodeFacts(BaseModel):
    """Which code made the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    git_commit: str | None
    dirty: bool | None
    lock_sha256: str | None
    workflow_protocol: str


class RunRequest(BaseModel):
    """The whole input of a run. JSON-able, small, free of secrets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    profile: str
    trace_id: str
    pipeline: str
    created_at: str  # RFC 3339, fixed here so that a resume rewrites the same bytes
    as_of: str
    annualisation: int
    snapshot: dict[str, Any]  # id, manifest_sha256, as_of, tables, feature_definition_hash
    settings: dict[str, Any]
    origins: dict[str, str]
    extends_chain: list[str]
    profile_sha256: list[str]
    code: CodeFacts
    env: dict[str, Any]
    arguments: dict[str, Any]  # of a DataOps command; empty for Alpha
    stages: list[str]
    replay: list[str]
    forked_from: ForkedFrom | None = None  # of a fork

    @property
    def kept(self) -> int | None:
        """How many stages a fork keeps; null where the run is none."""
        return None if self.forked_from is None else self.stages.index(self.forked_from.from_stage)

    def inputs(self) -> dict[str, Any]:
        """What two starts of one run id must have in common to be the same run."""
        settings = {k: v for k, v in self.settings.items() if k not in MEANS}
        return {
            "profile": self.profile,
            "pipeline": self.pipeline,
            "as_of": self.as_of,
            "snapshot": self.snapshot.get("id"),
            "settings": settings,
            "arguments": _without_means(self.arguments),
            "workflow_protocol": self.code.workflow_protocol,
            "forked_from": self._source(),
        }

    def _source(self) -> dict[str, str]:
        """Run and stage of a fork; two starts may find the source's ledger at different records."""
        forked = self.forked_from
        return {} if forked is None else {"run_id": forked.run_id, "from_stage": forked.from_stage}

    def manifest(self) -> dict[str, Any]:
        """The resolved manifest: this request, plus the hash by which everything refers to it."""
        return self._pinned() | {
            "manifest_sha256": self.manifest_sha256, "created_at": self.created_at, "replay": self.replay,
        }  # fmt: skip

    @functools.cached_property
    def manifest_sha256(self) -> str:
        """The hash by which everything refers to the manifest."""
        return manifest_hash(self._pinned())

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> RunRequest:
        """A copy with some fields replaced; what was made from the fields is made anew."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("manifest_sha256", None)
        return copied

    def _pinned(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "schema_version": 1,
            "run_id": self.run_id,
            "profile": self.profile,
            "pipeline": self.pipeline,
            "trace_id": self.trace_id,
            "settings": self.settings,
            "origins": self.origins,
            "extends_chain": self.extends_chain,
            "profile_sha256": self.profile_sha256,
            "snapshot": self.snapshot,
            "as_of": self.as_of,
            "arguments": self.arguments,
            "code": self.code.model_dump(),
            "env": self.env,
            "seeds": {},
            "charter": [],
            "sleeves": [],
        }
        if self.forked_from is not None:
            body["forked_from"] = self.forked_from.model_dump()
        return body

    def facts(self, attempt: int) -> RunFacts:
        """What pure functions may know of this run."""
        return RunFacts(
            run_id=self.run_id,
            profile=self.profile,
            trace_id=self.trace_id,
            pipeline=self.pipeline,
            as_of=self.as_of,
            snapshot=str(self.snapshot.get("id", "")),
            manifest_sha256=self.manifest_sha256,
            annualisation=self.annualisation,
            code_version=self.code.version,
            attempt=attempt,
        )


def manifest_hash(manifest: Mapping[str, Any], *, with_origins_of_places: bool = False) -> str:
    """The hash by which everything refers to a manifest: nothing in it says when or where a run was made.

    Where things lie is left out with its origins, so a run is the same over every state database.

    with_origins_of_places : as it was made before state databases of other kinds; older runs have it
    """
    kept = {k: v for k, v in manifest.items() if k not in ("manifest_sha256", "created_at", "replay")}
    if isinstance(manifest.get("settings"), Mapping):
        kept["settings"] = {k: v for k, v in manifest["settings"].items() if k != "paths"}
    if isinstance(manifest.get("origins"), Mapping) and not with_origins_of_places:
        kept["origins"] = {k: v for k, v in manifest["origins"].items() if not k.startswith("paths.")}
    return hash_json(kept)


def _without_means(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without the sections of a batch's profiles that `inputs` leaves out of its own settings."""
    if "sleeves" not in arguments:
        return dict(arguments)
    sleeves = {
        name: {
            "settings": {k: v for k, v in sleeve["settings"].items() if k not in MEANS},
            "annualisation": sleeve["annualisation"],
        }
        for name, sleeve in arguments["sleeves"].items()
    }
    return {**arguments, "sleeves": sleeves}


def run_command(
    options: Sequence[str], profile: str, run_id: str, snapshot: str, as_of: str, pipeline: str
) -> list[str]:
    """The command that makes a run again.

    options : what stands before `run`, such as `--set` of what was set outside the profile
    """
    words = ["quantctl", *options, "run", "--profile", profile, "--run-id", run_id]
    words += ["--snapshot", snapshot, "--as-of", as_of]
    return words if pipeline == "alpha.full" else [*words, "--pipeline", pipeline]
