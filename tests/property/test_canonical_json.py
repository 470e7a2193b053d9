"""Our encoder of canonical JSON writes the bytes of the reference implementation of RFC 8785."""

from __future__ import annotations

import enum
import math

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from quantctl.contracts.canonical import SAFE_INTEGER, canonical, parse_strict
from quantctl.contracts.errors import ContractError, InternalError

TEXTS = st.text(st.characters(exclude_categories=()), max_size=12)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-SAFE_INTEGER, SAFE_INTEGER) | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def has_surrogate(value: object) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, dict):
        return any(has_surrogate(k) or has_surrogate(v) for k, v in value.items())
    return isinstance(value, list) and any(map(has_surrogate, value))


@given(VALUES)
def test_bytes_are_those_of_the_reference(value: object) -> None:
    if has_surrogate(value):
        with pytest.raises(InternalError) as found:
            canonical(value)
        assert found.value.code == "ARTIFACT_NONFINITE"
        return
    written = canonical(value)
    assert written == rfc8785.dumps(value)
    assert canonical(parse_strict(written)) == written


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 1e21, 1e-7, 5e-324, 1e16, 123456.789, True, False])
def test_numbers_have_the_shortest_form(value: float) -> None:
    assert canonical(value) == rfc8785.dumps(value)


def test_keys_are_ordered_by_utf_16_units() -> None:
    value = {"\U0001f600": 1, "\ufffd": 2, "é": 3, "z": 4, "a": 5}
    assert canonical(value) == rfc8785.dumps(value)
    assert canonical(value).decode().index("\U0001f600") < canonical(value).decode().index("\ufffd")


def test_large_integers_are_texts_and_subclasses_are_what_they_stand_for() -> None:
    class Colour(enum.IntEnum):
        RED = 3

    class Word(enum.StrEnum):
        UP = "up"

    assert (
        canonical([2**53, -(2**60), Colour.RED, Word.UP])
        == b'["9007199254740992","-1152921504606846976",3,"up"]'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}, {1: 2}, {"a": {1, 2}}, b"bytes"])
def test_what_has_no_form_is_refused(value: object) -> None:
    with pytest.raises(InternalError) as found:
        canonical(value)
    assert found.value.code == "ARTIFACT_NONFINITE"


@pytest.mark.parametrize("text", ["1e999", "[-1e999]", "1" + "0" * 400, "NaN", '{"a":1,"a":1}', "[1,]"])
def test_what_is_no_strict_json_is_refused(text: str) -> None:
    with pytest.raises(ContractError) as found:
        parse_strict(text)
    assert found.value.code == "ARTIFACT_INVALID_JSON"


def test_a_large_number_of_a_record_is_read_back_as_the_float_it_was() -> None:
    for number in (2.0**53, 1e17, -3e20, 123456789012345680.0):
        assert parse_strict(canonical(number)) == number
        assert canonical(parse_strict(canonical({"turnover": number}))) == canonical({"turnover": number})
