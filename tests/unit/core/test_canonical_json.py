"""Canonical JSON against an independent RFC 8785 implementation, and the strict parser against its own careful half."""

from __future__ import annotations

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from common.core import codec
from common.core.codec import MAX_SAFE_INTEGER, canonical_json, check_signed_keys, parse_json, parse_json_canonically
from common.core.errors import Malformed, TooLarge
from tests.support.refusals import refused

LIMIT = 1 << 20
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ASCII_KEYS = st.text(st.characters(max_codepoint=127), max_size=6)
SCALARS = st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | ANY_TEXT


def trees(keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5), max_leaves=20
    )


def code_of(data: bytes, **limits: int) -> str:
    with pytest.raises((Malformed, TooLarge)) as caught:
        parse_json(data, max_size=limits.get("max_size", LIMIT), max_depth=limits.get("max_depth", 32))
    return caught.value.code


@given(trees(ASCII_KEYS))
def test_ascii_keys_give_the_bytes_of_rfc_8785(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(trees(ANY_TEXT))
def test_any_keys_give_the_bytes_of_rfc_8785(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


def test_keys_sort_by_utf16_code_units_not_code_points() -> None:
    # U+1F600 is D83D DE00 in UTF-16, so it sorts before U+FB33 although its code point is higher.
    assert canonical_json({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'.encode()


@given(st.characters(exclude_categories=["Cs"]))
def test_every_character_is_escaped_as_rfc_8785_says(character: str) -> None:
    assert canonical_json(character) == rfc8785.dumps(character)


@given(trees(ANY_TEXT))
def test_parsing_the_canonical_bytes_gives_the_value_back(value: Any) -> None:
    data = canonical_json(value)
    assert parse_json_canonically(data, max_size=LIMIT) == (value, data)


@given(trees(ANY_TEXT), st.sampled_from([None, 1, "\t"]), st.booleans(), st.randoms(use_true_random=False))
def test_white_space_order_and_escapes_do_not_matter(value: Any, indent: Any, escape: bool, random: Any) -> None:
    def shuffled(node: Any) -> Any:
        if isinstance(node, dict):
            items = [(key, shuffled(item)) for key, item in node.items()]
            random.shuffle(items)
            return dict(items)
        return [shuffled(item) for item in node] if isinstance(node, list) else node

    text = json.dumps(shuffled(value), indent=indent, ensure_ascii=escape)
    assert parse_json_canonically(text.encode(), max_size=LIMIT) == (value, canonical_json(value))


@given(
    st.binary(max_size=24)
    | st.text('[]{}",:0123456789-.eE\\ tfn\ud800', max_size=24).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_the_fast_and_the_careful_parser_never_disagree(data: bytes) -> None:
    def outcome(parse: Any) -> Any:
        try:
            return parse()
        except Malformed as error:
            return error.code

    assert outcome(lambda: parse_json_canonically(data, max_size=LIMIT)) == outcome(
        lambda: codec._parse_carefully(data, codec.MAX_DEPTH)
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"a":1,"a":1}', "json_duplicate_key"),
        (b'{"a":1,"\\u0061":2}', "json_duplicate_key"),
        (b'[{"x":{"k":1,"k":2}}]', "json_duplicate_key"),
        (b"NaN", "json_float"),
        (b"[Infinity]", "json_float"),
        (b"[-Infinity]", "json_float"),
        (b"1e400", "json_float"),
        (b"1e2", "json_float"),
        (b"1.0", "json_float"),
        (b"[0.5]", "json_float"),
        (b"-0", "json_negative_zero"),
        (b'{"a":-0}', "json_negative_zero"),
        (b"-0.0", "json_float"),
        (b"9007199254740992", "json_integer_range"),
        (b"9007199254740993", "json_integer_range"),
        (b"-9007199254740992", "json_integer_range"),
        (b"[18446744073709551616]", "json_integer_range"),
        (b"1" * 5000, "json_integer_range"),
        (b'"\\ud800"', "json_surrogate"),
        (b'{"\\udc00":1}', "json_surrogate"),
        (b'"\\ud83d\\ud83d"', "json_surrogate"),
        (b'"\xed\xa0\x80"', "json_utf8"),
        (b'"\xc0\xaf"', "json_utf8"),
        (b"\xff", "json_utf8"),
        (b"\xef\xbb\xbf{}", "json_invalid"),
        (b"[" * 33 + b"]" * 33, "json_depth"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "json_depth"),
        (b"[" * 200_000, "json_depth"),
        (b'{"a":' * 100_000, "json_depth"),
        (b"", "json_invalid"),
        (b"{} {}", "json_invalid"),
        (b"[1,]", "json_invalid"),
        (b"{'a':1}", "json_invalid"),
        (b'"\n"', "json_invalid"),
        (b"01", "json_invalid"),
        (b"[1]x", "json_invalid"),
        (b"[1]\x00", "json_invalid"),
    ],
)
def test_e1_ambiguous_json_is_refused_with_its_code(text: bytes, code: str) -> None:
    assert code_of(text) == code


def test_e1_limits_are_inclusive() -> None:
    assert parse_json(b"9007199254740991", max_size=16) == MAX_SAFE_INTEGER
    assert parse_json(b"-9007199254740991", max_size=17) == -MAX_SAFE_INTEGER
    assert parse_json(b"[" * 32 + b"]" * 32, max_size=64) is not None
    assert parse_json(b"[ " * 32 + b"]" * 32, max_size=96) is not None
    assert code_of(b"[[]]", max_depth=1) == "json_depth"
    assert code_of(b"[1 ]", max_size=3) == "json_too_large"


def test_e1_brackets_inside_strings_do_not_count_as_depth() -> None:
    text = " " + json.dumps({"a": "[" * 100 + '\\"{{{'})
    assert parse_json(text.encode(), max_size=LIMIT) == {"a": "[" * 100 + '\\"{{{'}


@pytest.mark.parametrize("value", [1.0, float("nan"), 2**53, -(2**53), "\ud800", {"\udc00": 1}, {1: 2}, b"x", {2}, ...])
def test_e1_values_outside_the_subset_have_no_canonical_form(value: Any) -> None:
    for nested in (value, [value], {"a": {"b": (value,)}}):
        with pytest.raises(Malformed):
            canonical_json(nested)


def test_e1_true_is_not_one() -> None:
    assert canonical_json([True, 1, False, 0, None]) == b"[true,1,false,0,null]"


@pytest.mark.parametrize("key", ["", "A", "a-b", "a" * 65, "ä", "a b", "a\n", "type\u0000"])
def test_signed_keys_outside_the_alphabet_are_refused_at_any_depth(key: str) -> None:
    for value in ({key: 1}, [{key: 1}], {"a": {"b": [[{key: None}]]}}):
        with refused("json_key", Malformed):
            check_signed_keys(value)


def test_signed_keys_inside_the_alphabet_pass() -> None:
    check_signed_keys({"a_1": [{"b" * 64: {}}], "0": "A-B"})
    check_signed_keys("Any Text")
