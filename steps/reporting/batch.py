"""`batch.children`: the ends of all children of a batch as one record, and its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from quantctl.contracts.codes import exit_of
from quantctl.contracts.errors import (
    ConfigError,
    DataMissing,
    GateFailed,
    Infeasible,
    InternalError,
    QuantError,
)
from quantctl.contracts.records.batch import CHILD_CLOSED, CHILD_SKIPPED, Batch, ChildEnd
from quantctl.contracts.stage import Outcome, RunFacts, stage

Record = Mapping[str, Any]
_KINDS: dict[int, type[QuantError]] = {1: GateFailed, 2: ConfigError, 3: DataMissing, 4: Infeasible}


@stage("batch.children", writes=("batch",))
def collect(ledger_records: Sequence[Record], *, run: RunFacts) -> Outcome:
    """Run the children of a batch on a queue, and keep how each of them ended.

    The runner has begun the children and booked their ends; here they become one record. The batch fails
    as the first child in order that did.

    Reads: the batch's own ledger. Writes: `batch`.
    Errors: the code of that child; `CHILD_CANCELLED` if it was cancelled; `STAGE_NEEDS_RUN` alone.
    """
    ends = ends_of(ledger_records)
    if not ends:
        raise ConfigError(
            "STAGE_NEEDS_RUN", "a batch is run as a whole", where="batch.children", remedy="quantctl batch"
        )
    count = Counter(end.state for end in ends)
    body = Batch(
        run_id=run.run_id, profile=run.profile, children=ends, succeeded=count["SUCCESS"],
        failed=count["FAILED"], cancelled=count["CANCELLED"], skipped=count["SKIPPED"],
    )  # fmt: skip
    metrics = {name: getattr(body, name) for name in ("succeeded", "failed", "cancelled", "skipped")}
    return Outcome({"batch": body}, metrics=metrics, error=_error(ends, run))


def ends_of(records: Sequence[Record]) -> list[ChildEnd]:
    """How each child stands after these records of its parent, by suffix: the last one booked counts."""
    last: dict[str, Mapping[str, Any]] = {}
    for record in records:
        if record["type"] == "event" and record["code"] in (CHILD_CLOSED, CHILD_SKIPPED):
            last[record["data"]["suffix"]] = record["data"]
    return [_end(last[suffix]) for suffix in sorted(last)]


def _end(data: Mapping[str, Any]) -> ChildEnd:
    kept = {name: value for name, value in data.items() if name in ChildEnd.model_fields}
    if "head_seq" in data:
        kept["records"] = data["head_seq"] + 1
    return ChildEnd(**kept)


def _error(ends: Sequence[ChildEnd], run: RunFacts) -> QuantError | None:
    """The error of the first child in order that did not succeed; null where all did."""
    first = next((end for end in ends if end.state in ("FAILED", "CANCELLED")), None)
    if first is None:
        return None
    retry = f"quantctl status {first.run_id} && quantctl retry {run.run_id}"
    if first.state == "CANCELLED":
        return GateFailed(
            "CHILD_CANCELLED", f"child {first.run_id} was cancelled", where=first.run_id,
            remedy="run the batch again under a new --run-id; a cancelled run is not continued",
        )  # fmt: skip
    code = first.code or "INTERNAL"
    kind = _KINDS.get(exit_of(code), InternalError)
    return kind(code, f"child {first.run_id} failed: {first.message}", where=first.run_id, remedy=retry)
