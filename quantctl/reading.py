"""The part of the SDK that only looks: states, artifacts, ledgers, SQL. It needs no workflow engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from quantctl import evidence
from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.errors import ConfigError, ContractError, DataMissing
from quantctl.contracts.nearest import did_you_mean
from quantctl.lake import artifact_index, state
from quantctl.lake.rundir import RunDirectory, require_run
from quantctl.run_results import RunResult, result_of
from quantctl.workflows import children, runs
from quantctl.workflows.runs import RunStatus
from quantctl.workflows.runtime import Places

if TYPE_CHECKING:
    import polars as pl

    from quantctl.sdk import QuantSDK


class Reading:
    """What an installation holds; `QuantSDK` has it as its own."""

    places: Places

    def status(self, run_id: str) -> RunResult:
        """Where a run stands (`RUN_NOT_FOUND`, exit 3)."""
        return self.result(runs.require_status(self.places, run_id))

    def runs(
        self,
        *,
        limit: int = 50,
        profile: str | None = None,
        pipeline: str | None = None,
        state: str | None = None,
        since: str | None = None,
        parent: str | None = None,
    ) -> list[RunStatus]:
        """The newest runs first; children of one batch by id.

        state : one of the states, or `OPEN` for all that have not ended; since : UTC date or time of creation
        parent : only the children of this batch that have begun; `RUN_NOT_FOUND` for an unknown one
        """
        if parent is not None:
            runs.require_status(self.places, parent)
        return runs.statuses(
            self.places, limit=limit, profile=profile, pipeline=pipeline, state=state, since=since,
            among=None if parent is None else children.ids(self.places, parent),
        )  # fmt: skip

    def result(self, found: RunStatus) -> RunResult:
        """A status with the gates and artifacts that its ledger names."""
        return result_of(self.places, found)

    def load_artifact(self, run_id: str, name: str) -> Any:
        """A frame, model or text, its sha256 verified against the ledger (`ARTIFACT_CORRUPT`)."""
        found = runs.require_status(self.places, run_id)
        if name not in ARTIFACTS:
            raise ConfigError(
                "ARTIFACT_UNKNOWN", f"no artifact {name!r}{did_you_mean(name, ARTIFACTS)}",
                remedy=f"quantctl show {run_id}",
            )  # fmt: skip
        directory = RunDirectory(self.places.artifacts_dir, run_id, found.profile)
        sha = {row["name"]: row["sha256"] for row in self.result(found).artifacts}.get(name)
        if sha is not None:
            return directory.read(name, sha)
        loaded = directory.load(name, None)
        if loaded.problem == "missing":
            raise DataMissing("ISOLATION_INPUT_MISSING", f"run {run_id} has no {name}", where=loaded.path)
        if loaded.problem is not None:
            raise ContractError("ARTIFACT_CORRUPT", loaded.detail, where=loaded.path)
        return loaded.value

    def ledger(
        self, run_id: str, *, kind: str | None = None, step: str | None = None, since: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """The records of a run in sequence, from the state database; of one type, stage or from a time on."""
        require_run(self.places.artifacts_dir, run_id)
        yield from evidence.records(self.places, run_id, kind=kind, step=step, since=since)

    def verify_ledger(self, run_id: str, *, head: str | None = None) -> dict[str, Any]:
        """Chain, hashes and artifact bytes recomputed: `{ok, records, findings}`."""
        from quantctl.verification import verify_ledger

        return verify_ledger(self.places, run_id, head=head)

    def verify_ledgers(self) -> Iterator[dict[str, Any]]:
        """Every run verified, oldest first, one report at a time."""
        from quantctl.verification import verify_all

        return verify_all(self.places)

    def find_artifact(self, run_id: str, name: str) -> tuple[str, Path]:
        """Name and place of an artifact by name or path."""
        return evidence.find_artifact(self.places, run_id, name)

    def log_lines(self, run_id: str) -> list[dict[str, Any]]:
        """Structured log lines of a run."""
        return evidence.log_lines(self.places, run_id)

    def explain(self, run_id: str, symbol: str) -> list[dict[str, Any]]:
        """Stage, rule, value and limit that decided on a symbol, from the scan on."""
        from quantctl.explaining import explain

        return explain(cast("QuantSDK", self), run_id, symbol)

    def query(self, sql: str) -> pl.DataFrame:
        """One query over runs, ledger, artifacts and the lake, current to the last commit."""
        import polars as pl

        columns, rows = self.query_rows(sql)
        return pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None)

    def query_rows(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """`query` as column names and tuples, without Polars."""
        from quantctl.lake.live_sql import answer
        from quantctl.workflows.surface import live_surface

        return answer(live_surface(self.places), sql)

    def children(self, run_id: str) -> list[RunStatus]:
        """The children of a batch that have begun, by id."""
        return children.begun(self.places, run_id)

    def known_artifacts(self, run_id: str) -> list[dict[str, Any]]:
        """The artifact rows of a run; none for an id that is not known."""
        with state.reader(self.places.state_url) as connection:
            return artifact_index.rows(connection, run_id)
