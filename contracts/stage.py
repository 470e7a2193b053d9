"""The declaration of a stage and of a gate, and what they return.

A stage is a pure function. Its argument names are its edges: each names an artifact of the run
directory, a slice of the pinned snapshot (`lake_*`), a shared derived table (`null_tables`), or
one of `params` (its settings) and `run` (the facts of the run). Nothing else reaches it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from quantctl.contracts.errors import QuantError

Level = Literal["ERROR", "WARN", "INFO"]
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Finding(BaseModel):
    """One typed observation of a stage or gate: a veto, relaxation, fallback or warning.

    `symbol` is the symbol, atom or sleeve it is about, or null for the run as a whole.
    `details` is JSON-able and at most a few hundred bytes; a long list is an artifact.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Level
    code: str
    message: str
    symbol: str | None = None
    details: dict[str, Any] = {}

    def sort_key(self) -> tuple[int, str, str, str]:
        """Order in artifacts and ledger: level, code, symbol, message."""
        return (("ERROR", "WARN", "INFO").index(self.level), self.code, self.symbol or "", self.message)


class RunFacts(BaseModel):
    """What a pure function may know of its run. No path, no clock."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    profile: str
    trace_id: str
    pipeline: str
    as_of: str  # ISO date of the decision
    snapshot: str
    manifest_sha256: str
    annualisation: int  # 365 for 24x7 calendars, 252 for exchange calendars
    code_version: str
    attempt: int = 1


class StageParams(BaseModel):
    """Base of stage parameters: each field is one section of the settings, by its own name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Tagged:
    """A frame with string metadata for its Parquet file."""

    frame: Any
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """What a stage returns.

    outputs : artifact name -> Polars frame, `Tagged` frame, pydantic model, JSON-able value or text
    findings : typed observations, booked as `decision` records
    metrics : numbers and short strings, booked with the outcome
    error : set when the stage must stop although its outputs are worth keeping
    """

    outputs: Mapping[str, Any]
    findings: list[Finding] = field(default_factory=list)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    error: QuantError | None = None


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """An artifact as a gate sees it: its value, or why it could not be read."""

    name: str
    path: str
    value: T | None
    sha256: str | None = None
    problem: Literal["missing", "unreadable"] | None = None
    detail: str = ""


@dataclass(frozen=True)
class Judgement:
    """What a gate returns; status and counts follow from the findings.

    checked : how many objects of each kind were really examined (non-vacuity)
    extra : further top-level fields of the verdict file
    error : the typed error to raise when any finding is an ERROR; null picks the first ERROR's code
    """

    findings: list[Finding]
    checked: Mapping[str, int]
    extra: Mapping[str, Any] = field(default_factory=dict)
    error: QuantError | None = None


@dataclass(frozen=True)
class StageSpec:
    """A registered stage. `inputs` are its argument names besides `params` and `run`.

    refuses : raises on parameters that this stage cannot run; asked before the run begins
    """

    id: str
    purpose: str
    inputs: tuple[str, ...]
    writes: tuple[str, ...]
    params: type[StageParams] | None
    takes_run: bool
    function: Callable[..., Outcome]
    optional: frozenset[str]  # inputs with a default: given only where they exist
    refuses: Callable[[Any], None] | None = None

    @property
    def tag(self) -> str:
        """The part of the id before the dot."""
        return self.id.split(".", 1)[0]


@dataclass(frozen=True)
class GateSpec:
    """A registered gate. Its artifact inputs arrive as `Loaded`."""

    id: str
    stage: str
    order: int
    purpose: str
    writes: str
    inputs: tuple[str, ...]
    params: type[StageParams] | None
    takes_run: bool
    function: Callable[..., Judgement]
    sign: bool = False  # runs only where the sleeve's sign gate is on
    renders: tuple[str, Callable[[dict[str, Any]], str]] | None = None

    def own_code(self, kind: Literal["PARSE", "NOTHING_CHECKED"]) -> str:
        """Code of what the runner finds of a gate itself: it could not judge, or had nothing to examine."""
        return f"{self.id.replace('.', '_').upper()}_{kind}"


_RESERVED = ("params", "run")


def stage(
    id: str,
    *,
    writes: tuple[str, ...],
    params: type[StageParams] | None = None,
    refuses: Callable[[Any], None] | None = None,
) -> Callable[[F], F]:
    """Declare a pure function as the stage `id`; the declaration is kept on `fn.spec`.

    `refuses` takes the stage's params and raises on what this version cannot run; a run with such
    settings is refused before it begins.
    """

    def declare(function: F) -> F:
        names = inspect.signature(function).parameters
        spec = StageSpec(
            id=id,
            purpose=_first_line(function),
            inputs=tuple(name for name in names if name not in _RESERVED),
            writes=writes,
            params=params,
            takes_run="run" in names,
            function=function,
            optional=frozenset(
                name for name, p in names.items() if p.default is not p.empty and name not in _RESERVED
            ),
            refuses=refuses,
        )
        function.spec = spec  # type: ignore[attr-defined]
        return function

    return declare


def gate(
    id: str,
    *,
    stage: str,
    order: int,
    writes: str,
    params: type[StageParams] | None = None,
    sign: bool = False,
    renders: tuple[str, Callable[[dict[str, Any]], str]] | None = None,
) -> Callable[[F], F]:
    """Declare a pure function as a gate of `stage`; gates of one stage run by `order`.

    `renders` names a text artifact and the function that makes it from the written verdict.
    """

    def declare(function: F) -> F:
        names = inspect.signature(function).parameters
        function.spec = GateSpec(  # type: ignore[attr-defined]
            id=id,
            stage=stage,
            order=order,
            purpose=_first_line(function),
            writes=writes,
            inputs=tuple(name for name in names if name not in _RESERVED),
            params=params,
            takes_run="run" in names,
            function=function,
            sign=sign,
            renders=renders,
        )
        return function

    return declare


def _first_line(function: Callable[..., Any]) -> str:
    doc = (function.__doc__ or "").strip()
    if not doc:
        raise ValueError(f"{function.__qualname__} needs a docstring: its first line is the purpose")
    return doc.splitlines()[0]
