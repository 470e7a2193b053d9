"""Forks: runs that keep the first stages of another one, byte for byte and record for record.

A kept stage is not run again and not judged again. Its files are linked into the fork's directory, each
held to the hash that its ledger has, and the records of its outcome are booked anew with `kept_from`:
the run, number and hash of the record that they repeat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from quantctl.contracts.artifacts import ARTIFACTS, Artifact
from quantctl.contracts.canonical import canonical, hash_json, parse_strict
from quantctl.contracts.errors import ConfigError, ContractError, DataMissing, QuantError
from quantctl.contracts.records.fork import ForkedFrom
from quantctl.contracts.records.run import MEANS, RunRequest
from quantctl.lake import ledger, state
from quantctl.lake.fault_points import reach
from quantctl.lake.files import link_verified, sha256_file
from quantctl.lake.ledger import Draft
from quantctl.workflows import book
from quantctl.workflows.runtime import Places
from quantctl.workflows.session import Session

if TYPE_CHECKING:
    from sqlalchemy.orm import Session as SqlSession

Record = Mapping[str, Any]


class KeptStage(NamedTuple):
    """A stage of the source: its records from intent to outcome, and the attempt that wrote them."""

    stage: str
    attempt: int
    records: list[Record]

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """References of the files that it wrote."""
        return list(self.records[-1]["outputs"])

    @property
    def origin(self) -> str:
        """The run that computed it."""
        known = self.records[-1]["data"].get("kept_from")
        return str(known["run_id"] if known else self.records[-1]["run_id"])


def kept_stages(records: Sequence[Record], stages: Sequence[str]) -> list[KeptStage]:
    """What a ledger says of `stages`; one without a successful outcome is `FORK_STAGE_MISSING` (exit 3)."""
    return [_kept(records, stage) for stage in stages]


def _kept(records: Sequence[Record], stage: str) -> KeptStage:
    own = [r for r in records if r["step"] == stage and r["code"] != "REOPENED"]
    outcomes = [r for r in own if r["type"] == "stage" and r["status"] not in ("intent", "skipped")]
    intents = [r for r in own if r["type"] == "stage" and r["status"] == "intent"]
    if not outcomes or outcomes[-1]["status"] != "success" or intents[-1]["seq"] > outcomes[-1]["seq"]:
        raise DataMissing(
            "FORK_STAGE_MISSING",
            f"run {records[0]['run_id']} has no successful outcome of {stage} to keep",
            where=stage,
            remedy=f"fork it from {stage} or an earlier stage",
        )
    attempt = outcomes[-1]["attempt"]
    return KeptStage(stage, attempt, [r for r in own if r["attempt"] == attempt])


def source_records(places: Places, forked: ForkedFrom) -> list[Record]:
    """The source's ledger up to the pinned record; another one is `FORK_SOURCE_CHANGED` (exit 3)."""
    with state.reader(places.state_url) as connection:
        found = list(ledger.records(connection, forked.run_id)) if connection else []
    upto: list[Record] = [*found[: forked.seq + 1]]
    if not upto or upto[-1]["seq"] != forked.seq or upto[-1]["hash"] != forked.head_hash:
        raise ContractError(
            "FORK_SOURCE_CHANGED",
            f"the ledger of run {forked.run_id} is not the one that the fork was made from",
            where=forked.run_id,
            remedy=f"quantctl ledger verify {forked.run_id}; then fork it again under a new id",
        )
    return upto


def keep(session: Session, stages: Sequence[str]) -> dict[str, Any]:
    """Link the files of the kept stages into the fork; returns their references, or why it failed."""
    forked = session.request.forked_from
    assert forked is not None
    outputs: list[dict[str, Any]] = []
    try:
        kept = kept_stages(source_records(session.runtime.places, forked), stages)
        for stage in kept:
            for reference in stage.outputs:
                source = verified(session.runtime.places, forked.run_id, stage, reference)
                reach("fork.linking")
                size = link_verified(source, session.directory.root / reference["path"], reference["sha256"])
                reach("fork.linked")
                outputs.append(_artifact(reference, size).model_dump())
    except QuantError as problem:
        return {"error": problem.to_dict(), "outputs": outputs}
    return {"error": None, "outputs": outputs}


def _artifact(reference: Mapping[str, Any], size: int) -> Artifact:
    return Artifact(**reference, bytes=size, contract=ARTIFACTS[reference["name"]].contract)


def verified(places: Places, run_id: str, stage: KeptStage, reference: Mapping[str, Any]) -> Path:
    """Where a kept file lies with its recorded bytes: in its place, or set aside by a later retry.

    Anything else is `ARTIFACT_CORRUPT` (exit 3).
    """
    root = places.run_root(run_id)
    relative = str(reference["path"])
    for path in (root / relative, root / "attempts" / str(stage.attempt) / relative):
        if path.is_file() and sha256_file(path) == reference["sha256"]:
            return path
    raise ContractError(
        "ARTIFACT_CORRUPT",
        f"artifact {reference['name']} of run {run_id} is not what its ledger recorded",
        where=f"{run_id}:{reference['path']}",
        remedy=f"restore the file (quantctl ledger verify {run_id}), or fork from {stage.stage}",
    )


def book_kept(
    sql: SqlSession, request: RunRequest, stages: Sequence[str], outputs: Sequence[dict[str, Any]]
) -> int:
    """Book what a fork keeps: one event that names the source, then the records of its stages again.

    Returns the number of records.
    """
    from sqlalchemy import text

    forked = request.forked_from
    assert forked is not None
    rows = sql.execute(
        text("SELECT record FROM run_ledger WHERE run_id = :r AND seq <= :s ORDER BY seq"),
        {"r": forked.run_id, "s": forked.seq},
    )
    kept = kept_stages([parse_strict(row[0]) for row in rows], stages)
    by_path = {artifact.path: artifact for artifact in map(Artifact.model_validate, outputs)}
    data = {
        "run_id": forked.run_id, "from_stage": forked.from_stage, "seq": forked.seq,
        "head_hash": forked.head_hash, "stages": len(kept), "files": len(by_path),
    }  # fmt: skip
    drafts = [Draft("event", "info", code="FORKED_FROM", data=data)]
    drafts += [_again(record) for stage in kept for record in stage.records]
    files = {stage.stage: [by_path[output["path"]] for output in stage.outputs] for stage in kept}
    book.append_kept(sql, request, drafts, files)
    return len(drafts)


def _again(record: Record) -> Draft:
    """A record of the source as the fork books it: what it says stands, and where it was said."""
    known = record["data"].get("kept_from")
    pointer = known or {"run_id": record["run_id"], "seq": record["seq"], "hash": record["hash"]}
    data = {**record["data"], "kept_from": pointer}
    if len(canonical(data)) > ledger.MAX_DATA_BYTES:
        data = {"data_sha256": hash_json(record["data"]), "kept_from": pointer}
    return Draft(
        record["type"], record["status"], record["step"], 1, record["code"],
        inputs=record["inputs"], outputs=record["outputs"], data=data,
    )  # fmt: skip


# whether other settings would change a kept stage


def changed_keys(source: RunRequest, settings: Mapping[str, Any]) -> list[str]:
    """Dotted keys that differ, without those that say only where and how a run is made."""
    theirs, ours = _flat(source.settings), _flat(settings)
    keys = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
    return [key for key in keys if key.split(".", 1)[0] not in MEANS]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value}
        )
    return flat


def refuse_changed(source: RunRequest, keys: Sequence[str], stage: str) -> ConfigError:
    """The refusal of a fork whose settings would change a stage that it keeps."""
    given = " ".join(f"--set {key}=..." for key in keys)
    return ConfigError(
        "FORK_PARAMS_CHANGED",
        f"{', '.join(keys)} would change what {stage} came to, which the fork would keep",
        where=stage,
        remedy=f"quantctl fork {source.run_id} --from-stage {stage} {given}",
    )
