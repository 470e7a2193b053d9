"""Identifiers: runs, symbols, atoms. An id that becomes a path is validated here first."""

from __future__ import annotations

import hashlib
import re

from quantctl.contracts.errors import ConfigError, ContractError

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,96}")
_SYMBOL = re.compile(r"[A-Z0-9_]{1,32}:[^\s:/\\]{1,64}")


def check_run_id(run_id: str) -> str:
    """Return `run_id` if it may name a directory, else raise `RUN_ID_INVALID` (exit 2)."""
    if not _RUN_ID.fullmatch(run_id):
        raise ConfigError(
            "RUN_ID_INVALID",
            f"run id {run_id!r} is not 1 to 96 of A-Z a-z 0-9 _ -",
            remedy="choose another --run-id",
        )
    return run_id


def is_symbol(symbol: str) -> bool:
    """Whether `symbol` has the canonical form `EXCHANGE:SYMBOL`."""
    return _SYMBOL.fullmatch(symbol) is not None


def exchange_of(symbol: str) -> str:
    """The exchange prefix of a canonical symbol; raises `SYMBOL_INVALID` otherwise."""
    if not is_symbol(symbol):
        raise ContractError("SYMBOL_INVALID", f"{symbol!r} is not EXCHANGE:SYMBOL", where=symbol)
    return symbol.partition(":")[0]


def atom_id(symbol: str, logic: str, direction: str) -> str:
    """Id of an atom. It is never parsed: its parts stand in the atom table."""
    return f"{symbol}_{logic}_{direction}"


def trace_id_of(run_id: str) -> str:
    """32 hex characters, the same before and after a crash."""
    return hashlib.sha256(f"quantctl/trace/{run_id}".encode()).hexdigest()[:32]


def span_id_of(run_id: str, name: str, attempt: int) -> str:
    """16 hex characters for the span of a stage's attempt."""
    return hashlib.sha256(f"quantctl/span/{run_id}/{name}/{attempt}".encode()).hexdigest()[:16]
