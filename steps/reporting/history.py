"""What a ledger says of the files of a run over its attempts: where each recorded version must lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.canonical import sha256_hex

Records = Sequence[Mapping[str, Any]]

STAGE = "report.validation"


class Reopening(NamedTuple):
    """A retry: its attempt, and the first stage that it ran again."""

    attempt: int
    from_stage: str


class Recorded(NamedTuple):
    """A file that a record names. `place` is below the run directory, `aside` means superseded."""

    name: str
    attempt: int
    place: str
    sha256: str
    aside: bool


def stages_of(records: Records) -> list[str]:
    """Stage ids of the pipeline in order, as the genesis record lists them."""
    found = records[0]["data"].get("stages", []) if records else []
    return [str(stage) for stage in found]


def reopenings(records: Records, *, terminal: bool) -> list[Reopening]:
    """Retries in order. Inside a run the one that only repeats validation is not in `records` yet."""
    found = [
        Reopening(int(record["data"]["attempt"]), str(record["data"]["from_stage"]))
        for record in records
        if record["code"] == "REOPENED"
    ]
    if not terminal and records and records[-1]["type"] == "closed":
        found.append(Reopening(int(records[-1]["attempt"]) + 1, STAGE))
    return found


def recorded_files(records: Records, *, terminal: bool) -> list[Recorded]:
    """Every version of every file that a record names, in the order of their places.

    A retry sets the outputs of the stages that it repeats aside to `attempts/<n>/`, n being the attempt
    that wrote them. Files that carry time have no recorded hash and are left out.
    """
    order = {stage: i for i, stage in enumerate(stages_of(records))}
    retries = reopenings(records, terminal=terminal)
    found: dict[tuple[str, int], Recorded] = {}
    for record in records:
        for output in record["outputs"]:
            name, path, attempt = str(output["name"]), str(output["path"]), int(record["attempt"])
            if name not in ARTIFACTS or ARTIFACTS[name].timed:
                continue
            aside = any(
                retry.attempt > attempt
                and order.get(retry.from_stage, 0) <= order.get(str(record["step"]), -1)
                for retry in retries
            )
            place = f"attempts/{attempt}/{path}" if aside else path
            found[(path, attempt)] = Recorded(name, attempt, place, str(output["sha256"]), aside)
    # Of versions that were not set aside, the newest lies at the path.
    return sorted({version.place: version for _, version in sorted(found.items())}.values(), key=_place)


def changed_files(records: Records, files: Mapping[str, bytes | None], *, terminal: bool) -> list[Recorded]:
    """Versions whose file is not the recorded one, nor, set aside by a retry, the one that it noted."""
    noted = noted_damage(records)
    found = []
    for version in recorded_files(records, terminal=terminal):
        data = files.get(version.place)
        sha = None if data is None else sha256_hex(data)
        if sha != noted.get((version.place, version.sha256), version.sha256):
            found.append(version)
    return found


def noted_damage(records: Records) -> dict[tuple[str, str], str | None]:
    """(place, recorded sha256) -> sha256 found (null: none) of what a retry set aside and found changed."""
    return {
        (str(record["data"]["path"]), str(record["data"]["recorded"])): record["data"]["found"]
        for record in records
        if record["code"] == "SUPERSEDED_CORRUPT"
    }


def _place(version: Recorded) -> str:
    return version.place
