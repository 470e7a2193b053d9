"""quant:// URIs round-trip, and refuse everything that is not one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantctl.contracts.errors import ConfigError
from quantctl.contracts.uri import ArtifactUri, StageUri, format_uri, parse

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
values = st.text(min_size=1, max_size=12)


@given(
    names.filter(lambda n: n != "run"),
    names,
    st.dictionaries(st.sampled_from(["run_id", "profile", "snapshot"]), values),
    st.dictionaries(names, values),
)
def test_parse_and_format_are_inverse_on_canonical_uris(
    pipeline: str, stage: str, keys: dict[str, str], params: dict[str, str]
) -> None:
    text = format_uri(StageUri(pipeline, stage, keys, params))
    assert format_uri(parse(text)) == text
    assert parse(text) == StageUri(pipeline, stage, keys, params)


def test_a_stage_uri_names_a_stage() -> None:
    uri = parse("quant://selection/clustering?run_id=r1&p.selection.top_n=5")
    assert isinstance(uri, StageUri)
    assert uri.stage_id == "selection.clustering"
    assert uri.params == {"selection.top_n": "5"}


@pytest.mark.parametrize(
    "text",
    [
        "http://selection/clustering", "quant://selection", "quant://Selection/clustering",
        "quant://selection/clustering?run_id=a&run_id=b", "quant://selection/clustering?colour=red",
        "quant://selection/clustering?run_id=", "quant://selection/clustering#x",
        "quant://me@selection/clustering", "quant://selection:80/clustering",
        "quant://selection/clustering?p.=1", "quant://selection/clustering?p.a=%zz", "quant://run/r1",
    ],
)  # fmt: skip
def test_a_malformed_uri_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert (caught.value.code, caught.value.exit_code) == ("URI_INVALID", 2)


@pytest.mark.parametrize("path", ["../r2/x", "/etc/passwd", "a/../../x", "%2e%2e/x", "a\\b"])
def test_a_path_that_leaves_its_run_is_refused(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"quant://run/r1/{path}")
    assert caught.value.code == "URI_PATH_FORBIDDEN"


def test_an_artifact_uri_names_a_file() -> None:
    assert parse("quant://run/r1/data/regime.json") == ArtifactUri("r1", "data/regime.json")
