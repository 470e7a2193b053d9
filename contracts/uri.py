"""`quant://` URIs: stages with their parameters, and artifacts of a run.

::

    uri   = "quant://" pipeline "/" stage [ "?" pair *( "&" pair ) ]
    pair  = key "=" value          key = run_id / profile / snapshot / "p." name
    uri   = "quant://run/" RUN_ID "/" artifact path
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.ids import check_run_id

SCHEME = "quant://"
KEYS = ("run_id", "profile", "snapshot")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ESCAPES = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class StageUri:
    """A stage with what it is asked to run on; `params` are texts, parsed by the stage's schema."""

    pipeline: str
    stage: str
    keys: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def stage_id(self) -> str:
        """Id of the stage."""
        return f"{self.pipeline}.{self.stage}"


@dataclass(frozen=True)
class ArtifactUri:
    """A file below a run directory."""

    run_id: str
    path: str


def parse(uri: str) -> StageUri | ArtifactUri:
    """Parse a URI; raises `URI_INVALID` or `URI_PATH_FORBIDDEN` (exit 2)."""
    if not uri.startswith(SCHEME):
        raise _invalid(uri, f"does not begin with {SCHEME}")
    if "#" in uri or "@" in uri or _ESCAPES.search(uri):
        raise _invalid(uri, "a fragment, user information or a broken escape has no place here")
    body, _, query = uri[len(SCHEME) :].partition("?")
    head, _, rest = body.partition("/")
    if head == "run":
        return _artifact(uri, rest, query)
    if not (_NAME.fullmatch(head) and _NAME.fullmatch(rest)):
        raise _invalid(uri, "needs pipeline/stage in lower case")
    keys, params = _pairs(uri, query)
    return StageUri(head, rest, keys, params)


def format_uri(uri: StageUri | ArtifactUri) -> str:
    """The canonical text: pairs sorted, values percent-encoded."""
    if isinstance(uri, ArtifactUri):
        return f"{SCHEME}run/{uri.run_id}/{quote(uri.path)}"
    pairs = dict(uri.keys) | {f"p.{name}": value for name, value in uri.params.items()}
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in sorted(pairs.items()))
    return f"{SCHEME}{uri.pipeline}/{uri.stage}" + (f"?{query}" if query else "")


def _pairs(uri: str, query: str) -> tuple[dict[str, str], dict[str, str]]:
    keys: dict[str, str] = {}
    params: dict[str, str] = {}
    for pair in query.split("&") if query else []:
        name, equals, value = pair.partition("=")
        if not equals or not value:
            raise _invalid(uri, f"{pair!r} is not key=value with a value")
        table, key = (params, name[2:]) if name.startswith("p.") else (keys, name)
        if (table is keys and key not in KEYS) or not key:
            raise _invalid(uri, f"unknown key {name!r}; known are {', '.join(KEYS)} and p.<name>")
        if key in table:
            raise _invalid(uri, f"key {name!r} stands twice")
        table[key] = unquote(value)
    return keys, params


def _artifact(uri: str, rest: str, query: str) -> ArtifactUri:
    run_id, _, path = rest.partition("/")
    path = unquote(path)
    if query or not path:
        raise _invalid(uri, "an artifact is quant://run/RUN_ID/path")
    if path.startswith("/") or ".." in path.split("/") or "\\" in path or "\0" in path:
        raise ConfigError("URI_PATH_FORBIDDEN", f"{path!r} leaves its run directory", where=uri)
    return ArtifactUri(check_run_id(run_id), path)


def _invalid(uri: str, why: str) -> ConfigError:
    return ConfigError("URI_INVALID", f"{uri!r}: {why}", remedy="quant://selection/clustering?run_id=RUN_ID")
