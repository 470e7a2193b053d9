"""Artifact values to bytes and back, held to their contracts on both ways."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from quantctl.contracts.artifacts import ARTIFACTS, contract_of
from quantctl.contracts.canonical import canonical, parse_strict
from quantctl.contracts.errors import ContractError
from quantctl.contracts.stage import Tagged

# One place for the writer's settings: changing one changes the bytes of every artifact.
PARQUET = {"compression": "zstd", "compression_level": 3, "statistics": True, "row_group_size": 262_144}


def encode(name: str, value: Any) -> tuple[bytes, int | None]:
    """Bytes of an artifact and its number of rows (null for documents).

    Raises `ARTIFACT_CONTRACT` when the value breaks the contract of the artifact table, and
    `ARTIFACT_NONFINITE` when a JSON value holds NaN or infinity.
    """
    row = ARTIFACTS[name]
    if row.format == "parquet":
        return _encode_frame(name, value)
    if row.format == "json":
        return canonical(_plain(name, value)), None
    return value.encode() if isinstance(value, str) else bytes(value), None


def decode(name: str, data: bytes) -> Any:
    """The value of an artifact's bytes: a frame, a contract model, JSON or text."""
    row = ARTIFACTS[name]
    if row.format == "parquet":
        return _decode_frame(name, data)
    if row.format == "json":
        return _model(name, parse_strict(data, where=row.path))
    return data.decode()


def frame_bytes(frame: Any, metadata: Mapping[str, str] | None = None) -> bytes:
    """Parquet bytes of a Polars frame with the fixed writer settings."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, metadata=dict(sorted(metadata.items())) if metadata else None, **PARQUET)
    return buffer.getvalue()


def _encode_frame(name: str, value: Any) -> tuple[bytes, int]:
    tagged = value if isinstance(value, Tagged) else Tagged(value, {})
    frame = check_frame(name, tagged.frame)
    return frame_bytes(frame, tagged.metadata), frame.height


def _decode_frame(name: str, data: bytes) -> Any:
    import polars as pl

    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError) as problem:
        raise _broken(name, f"not readable as Parquet: {problem}") from None
    return check_frame(name, frame)


def check_frame(name: str, frame: Any) -> Any:
    """Hold a frame to the contract of its artifact; returns it unchanged."""
    contract = contract_of(name)
    if contract is None:
        return frame
    if hasattr(contract, "to_schema") or hasattr(contract, "columns"):
        return _check_pandera(name, contract, frame)
    try:
        contract.validate(frame)
    except ContractError as problem:
        raise _broken(name, problem.message) from None
    return frame


def _check_pandera(name: str, contract: Any, frame: Any) -> Any:
    from pandera.errors import SchemaError, SchemaErrors

    try:
        contract.validate(frame, lazy=True)
    except SchemaErrors as problem:
        failures = [str(e.args[0])[:200] if e.args else str(e)[:200] for e in problem.schema_errors[:3]]
        raise _broken(
            name, f"{len(problem.schema_errors)} contract failures: {'; '.join(failures)}"
        ) from None
    except SchemaError as problem:
        raise _broken(name, str(problem)[:400]) from None
    return frame


def _plain(name: str, value: Any) -> Any:
    model = contract_of(name)
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True)
    if model is not None:
        _model(name, value)
    return value


def _model(name: str, value: Any) -> Any:
    model = contract_of(name)
    if model is None:
        return value
    try:
        return model.model_validate(value)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ContractError(
            "ARTIFACT_CONTRACT",
            f"{problem.error_count()} contract failures; first at {where}: {first['msg']}",
            where=f"{ARTIFACTS[name].path}:{where}",
            remedy="the producing stage and the contract disagree; please report it",
        ) from None


def _broken(name: str, message: str) -> ContractError:
    return ContractError(
        "ARTIFACT_CONTRACT",
        message,
        where=ARTIFACTS[name].path,
        remedy="quantctl ledger verify RUN_ID shows whether the file was changed after it was written",
    )
