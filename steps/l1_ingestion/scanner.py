"""Scanner definitions: inheritance, their checks, and the contradictions that leave no row.

A definition is a map; `base` names another one. Resolution walks from the root down: scalars of the child
win, maps merge key by key, lists replace. `filters` and `gates` are maps of ids: the same id replaces the
inherited entry, null removes it, a list instead of a map discards all inherited ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from quantctl.contracts.canonical import hash_json
from quantctl.contracts.errors import ConfigError
from quantctl.contracts.nearest import did_you_mean

MAX_DEPTH = 8
LOGICS = ("rating_all", "rating_ma", "rating_osc", "vol_breakout", "trend", "momentum", "reversion")
NUMERIC = ("greater", "egreater", "less", "eless")
RANGES = ("in_range", "not_in_range")
TEXTUAL = ("match", "nmatch")
SETS = ("has", "has_none_of")
EQUAL = ("equal", "nequal")
CROSSES = ("above", "below", "crosses", "crosses_above", "crosses_below")
OPERATORS = (*NUMERIC, *EQUAL, *RANGES, *SETS, *TEXTUAL, *CROSSES)
_ENTRIES = ("filters", "gates")
Place = Callable[[tuple[str, ...]], str]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Filter(_Part):
    """One server filter: `field` `op` `value`."""

    field: str
    op: str
    value: Any


class Gate(_Part):
    """A local bound, exclusive; mirrored for SHORT (`min: 0` becomes below 0) unless `mirror` is false."""

    field: str
    min: float | None = None
    max: float | None = None
    mirror: bool = True


class Sort(_Part):
    """The order in which rows are ranked."""

    field: str
    order: Literal["asc", "desc"] = "desc"


class Liquidity(_Part):
    """Floor on the turnover of the current bar, in USD; null: `universe.current_bar_min`."""

    current_bar_min: float | None = None


class Volatility(_Part):
    """Floor on the day's range, in per cent; null: `universe.volatility_d_min`."""

    volatility_d_min: float | None = None


class LakeBlock(_Part):
    """What replaces the definition when it is evaluated over the lakehouse."""

    sort: Sort | None = None


class Dedupe(_Part):
    """One row per base, by the order of the identity kernel."""

    by: Literal["base"] | None = "base"


class Definition(_Part):
    """A resolved scanner, or one document of its chain."""

    base: str | None = None
    abstract: bool = False
    source: Literal["tradingview", "binance", "lake", "static"] = "tradingview"
    market: str = "crypto"
    exchanges: tuple[str, ...] = ()
    asset_type: Literal["spot", "perp", "equity", "etf", "future", "fx"] = "spot"
    logic: str | None = None
    intent: str | None = None
    optional: bool = False
    filters: dict[str, Filter] = {}
    liquidity: Liquidity = Liquidity()
    volatility: Volatility = Volatility()
    quotes: tuple[str, ...] = ()
    exclude_bases: str | tuple[str, ...] = "stable"
    columns: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    sort: Sort | None = None
    limit: int | None = None
    lake: LakeBlock = LakeBlock()
    gates: dict[str, Gate] = {}
    dedupe: Dedupe = Dedupe()

    def sha256(self) -> str:
        """Hash of the resolved definition, kept in scan records and manifests."""
        return hash_json(self.model_dump(mode="json"))


@dataclass(frozen=True)
class Document:
    """A definition as written: its map, and the place (`file:line`) of each key path."""

    value: Mapping[str, Any]
    place: Place


def resolve(name: str, documents: Mapping[str, Document]) -> Definition:
    """The definition called `name` with everything that it inherits.

    Raises `SCANNER_UNKNOWN`, `SCANNER_BASE_MISSING`, `SCANNER_BASE_CYCLE`, `SCANNER_UNKNOWN_KEY`,
    `SCANNER_FILTER_INVALID`, `SCANNER_INTENT_MISSING`, `SCANNER_CONTRADICTION` (all exit 2).
    """
    chain = _chain(name, documents)
    merged: dict[str, Any] = {}
    for document in chain:
        _validated(document, document.value)
        own = {key: value for key, value in document.value.items() if key != "base"}
        merged = _merge(merged | {"abstract": False}, own)
    definition = _validated(chain[-1], merged | {"base": chain[-1].value.get("base")})
    if not definition.abstract:
        _check_intent(definition, chain[-1])
        _check_contradictions(definition, chain[-1])
    return definition


def runnable(name: str, definition: Definition) -> Definition:
    """`definition` unless it is only a base (`SCANNER_ABSTRACT`, exit 2)."""
    if definition.abstract:
        raise ConfigError(
            "SCANNER_ABSTRACT", f"scanner {name} is abstract", where=name, remedy="list one of its children"
        )
    return definition


def _chain(name: str, documents: Mapping[str, Document]) -> list[Document]:
    if name not in documents:
        hint = did_you_mean(name, documents)
        raise ConfigError(
            "SCANNER_UNKNOWN", f"no scanner {name!r}{hint}", remedy="quantctl data scanners list"
        )
    names, current = [name], documents[name]
    while current.value.get("base") is not None:
        base, place = str(current.value["base"]), current.place(("base",))
        if base not in documents:
            hint = did_you_mean(base, documents)
            raise ConfigError("SCANNER_BASE_MISSING", f"base {base!r} does not exist{hint}", where=place)
        if base in names or len(names) >= MAX_DEPTH:
            raise ConfigError("SCANNER_BASE_CYCLE", " -> ".join([*names, base]), where=place)
        names.append(base)
        current = documents[base]
    return [documents[each] for each in reversed(names)]


def _entries(value: Any) -> dict[str, Any]:
    """Filters or gates given as a list get their positions as ids."""
    if isinstance(value, list):
        return {f"{i:02d}": entry for i, entry in enumerate(value)}
    return dict(value or {})


def _merge(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(parent)
    for key, value in child.items():
        if key in _ENTRIES:
            inherited = {} if isinstance(value, list) else result.get(key, {})
            entries = {**inherited, **_entries(value)}
            result[key] = {each: entry for each, entry in entries.items() if entry is not None}
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = _merge(result[key], value)
        else:
            result[key] = value
    return result


def _validated(document: Document, value: Mapping[str, Any]) -> Definition:
    plain = dict(value)
    for key in _ENTRIES:
        if key in plain and isinstance(plain[key], (list, Mapping, type(None))):
            plain[key] = {each: entry for each, entry in _entries(plain[key]).items() if entry is not None}
    try:
        definition = Definition.model_validate(plain)
    except ValidationError as problem:
        raise _refused(problem, document) from None
    for each, rule in definition.filters.items():
        _check_filter(each, rule, document)
    return definition


def _refused(problem: ValidationError, document: Document) -> ConfigError:
    first = min(problem.errors(), key=lambda error: error["type"] != "extra_forbidden")
    path = tuple(str(part) for part in first["loc"])
    where = document.place(path)
    if first["type"] == "extra_forbidden":
        models: dict[str, type[_Part]] = {
            "filters": Filter, "gates": Gate, "liquidity": Liquidity, "volatility": Volatility,
            "lake": LakeBlock, "dedupe": Dedupe, "sort": Sort,
        }  # fmt: skip
        owner = Sort if path[0] == "lake" and len(path) > 2 else models.get(path[0], Definition)
        known = (Definition if len(path) == 1 else owner).model_fields
        return ConfigError(
            "SCANNER_UNKNOWN_KEY", f"unknown key {'.'.join(path)}{did_you_mean(path[-1], known)}", where=where
        )
    if path[0] in ("logic", "intent"):
        return ConfigError("SCANNER_INTENT_MISSING", f"{path[0]}: {first['msg']}", where=where)
    return ConfigError("SCANNER_FILTER_INVALID", f"{'.'.join(path)}: {first['msg']}", where=where)


def _check_filter(each: str, rule: Filter, document: Document) -> None:
    if rule.op not in OPERATORS:
        _invalid(each, document, f"no operator {rule.op!r}{did_you_mean(rule.op, OPERATORS)}")
    value, number = rule.value, isinstance(rule.value, (int, float)) and not isinstance(rule.value, bool)
    fits = (
        (number if rule.op in NUMERIC else True)
        and (isinstance(value, list) and len(value) > 0 if rule.op in RANGES else True)
        and (isinstance(value, str) if rule.op in TEXTUAL else True)
        and (isinstance(value, (str, list)) if rule.op in SETS else True)
        and (isinstance(value, (str, bool)) or number if rule.op in EQUAL else True)
        and (isinstance(value, str) or number if rule.op in CROSSES else True)
    )
    if not fits:
        _invalid(each, document, f"{rule.op} cannot take {value!r}")


def _invalid(each: str, document: Document, why: str) -> None:
    raise ConfigError(
        "SCANNER_FILTER_INVALID", f"filter {each}: {why}", where=document.place(("filters", each))
    )


def _check_intent(definition: Definition, document: Document) -> None:
    for key, value, allowed in (
        ("logic", definition.logic, LOGICS),
        ("intent", definition.intent, ("LONG", "SHORT")),
    ):
        if value not in allowed:
            raise ConfigError(
                "SCANNER_INTENT_MISSING", f"{key} is {value!r}, not one of {', '.join(allowed)}",
                where=document.place((key,)),
            )  # fmt: skip


@dataclass
class _Interval:
    low: float = -math.inf
    low_open: bool = False
    high: float = math.inf
    high_open: bool = False

    def above(self, value: float, *, strict: bool) -> None:
        if (value, strict) > (self.low, self.low_open):
            self.low, self.low_open = value, strict

    def below(self, value: float, *, strict: bool) -> None:
        if value < self.high or (value == self.high and strict):
            self.high, self.high_open = value, strict

    def empty(self) -> bool:
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))


def bounds_of(gate: Gate, intent: str | None) -> tuple[float | None, float | None]:
    """Exclusive (min, max) of a gate for a leg: mirrored gates of SHORT swap and change sign."""
    if intent != "SHORT" or not gate.mirror:
        return gate.min, gate.max
    return (None if gate.max is None else -gate.max), (None if gate.min is None else -gate.min)


def is_directional(field: str) -> bool:
    """Whether larger values of a scanner field speak for LONG and smaller ones for SHORT."""
    return field.partition("|")[0].startswith(("Recommend.", "Perf.", "Mom", "AO", "MACD.", "change"))


def _check_contradictions(definition: Definition, document: Document) -> None:
    spans: dict[str, _Interval] = {}
    equal: dict[str, Any] = {}
    for each, rule in definition.filters.items():
        span = spans.setdefault(rule.field, _Interval())
        if rule.op in NUMERIC:
            bound = span.above if "greater" in rule.op else span.below
            bound(float(rule.value), strict=not rule.op.startswith("e"))
        elif (
            rule.op == "in_range"
            and len(rule.value) == 2
            and all(isinstance(v, (int, float)) for v in rule.value)
        ):
            span.above(float(rule.value[0]), strict=False)
            span.below(float(rule.value[1]), strict=False)
        elif rule.op == "equal" and equal.setdefault(rule.field, rule.value) != rule.value:
            _contradiction(
                f"filter {each} wants {rule.field} {rule.value!r} and {equal[rule.field]!r}", document
            )
    for field, floor in (
        ("Value.Traded", definition.liquidity.current_bar_min),
        ("Volatility.D", definition.volatility.volatility_d_min),
    ):
        if floor is not None:
            spans.setdefault(field, _Interval()).above(floor, strict=False)
    for each, gate in definition.gates.items():
        low, high = bounds_of(gate, definition.intent)
        _check_gate(each, gate.field, low, high, definition, document)
        span = spans.setdefault(gate.field, _Interval())
        if low is not None:
            span.above(low, strict=True)
        if high is not None:
            span.below(high, strict=True)
    for field, span in spans.items():
        if span.empty():
            _contradiction(f"no {field} is above {span.low:g} and below {span.high:g}", document)


def _check_gate(
    each: str, field: str, low: float | None, high: float | None, definition: Definition, document: Document
) -> None:
    against = (
        (low is not None and low >= 0) if definition.intent == "SHORT" else (high is not None and high <= 0)
    )
    if is_directional(field) and against:
        _contradiction(f"gate {each} on {field} contradicts intent {definition.intent}", document)


def _contradiction(message: str, document: Document) -> None:
    raise ConfigError("SCANNER_CONTRADICTION", message, where=document.place(("filters",)))
