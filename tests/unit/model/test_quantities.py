"""Plain decimals: one quantity has one value and one written form, and nothing is rounded (docs/adr/0076)."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.core.errors import Malformed
from common.model.document import MAX_DIGITS, encode_document, parse_document, read_number
from common.model.quantities import (
    MAX_PLACES,
    MAX_QUANTITY,
    decimal_text,
    exact_quantity,
    is_believed,
    plain,
    whole_text,
)

IN_SCALE = st.integers(-MAX_QUANTITY, MAX_QUANTITY)
PLACES = st.integers(0, MAX_PLACES)


def parsed(text: str) -> object:
    return parse_document(b'{"a":%s}' % text.encode(), max_size=1000)["a"]


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [(1050, 2, "10.5"), (125_000, 4, "12.5"), (1000, 2, "10"), (-5, 1, "-0.5"), (0, 6, "0"), (1, 6, "0.000001")],
)
def test_the_written_form_is_the_shortest_one(value: int, places: int, text: str) -> None:
    assert decimal_text(value, places) == text
    assert whole_text(value, places) == (None if "." in text else text)


@given(IN_SCALE, PLACES)
def test_what_is_written_is_read_back_exactly_also_by_readers_with_doubles(value: int, places: int) -> None:
    text = decimal_text(value, places)
    with localcontext() as context:
        context.prec = 60
        assert Decimal(text) * 10**places == value
    read = parsed(text)
    assert read == exact_quantity(value, places)
    assert encode_document(read) == text.encode()
    assert Decimal(repr(float(text))) == Decimal(text)


@pytest.mark.parametrize("text", ["1000", "1000.0", "1e3", "1E+3", "10000e-1", "0.1e4", "1000.000000000000000000"])
def test_all_spellings_are_one_quantity(text: str) -> None:
    value = parsed(text)
    assert type(value) is int
    assert value == 1000


@pytest.mark.parametrize("text", ["-0", "0.0", "-0.0", "0e5", "0e-5"])
def test_there_is_one_zero(text: str) -> None:
    assert repr(parsed(text)) == "0"


@given(st.integers(-(10**20), 10**20), st.integers(-8, 8), st.integers(0, 8))
def test_spellings_with_exponent_and_zeros_are_read_alike(digits: int, exponent: int, zeros: int) -> None:
    plain_text = format(Decimal(digits).scaleb(exponent), "f")
    more = zeros if digits else 0  # no number of JSON begins with two zeros
    spelled = f"{digits}{'0' * more}e{exponent - more}"
    assert repr(parsed(spelled)) == repr(parsed(plain_text))


@pytest.mark.parametrize(
    "text", ["1e400", "-1e400", "1e-400", "NaN", "Infinity", "-Infinity", "9" * (MAX_DIGITS + 1), "1e99999", "1" * 200]
)
def test_e1_numbers_beyond_the_bounds_are_refused(text: str) -> None:
    with pytest.raises(Malformed, match="json_number_range"):
        parsed(text)


@pytest.mark.parametrize("text", ["01", "1.", ".5", "+1", "1e", "0x10", "1_000", "١"])
def test_what_is_no_number_of_json_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="json_invalid"):
        parsed(text)


def test_e1_documents_that_parsers_read_differently_are_refused() -> None:
    for data, code in (
        (b'{"a":1,"a":2}', "json_duplicate_key"),
        (b'{"a":1.5,"a":1.5}', "json_duplicate_key"),
        (b'"\\ud800"', "json_surrogate"),
        (b'"\xed\xa0\x80"', "json_utf8"),
        (b"[" * 40 + b"]" * 40, "json_depth"),
        (b"[1,]", "json_invalid"),
    ):
        with pytest.raises(Malformed, match=code):
            parse_document(data, max_size=1000)


def test_any_form_of_a_document_is_read_and_has_one_canonical_form() -> None:
    canonical = encode_document({"b": [1, Decimal("0.25")], "a": {"账户": "x"}})
    foreign = json.dumps({"b": [1.0, 0.25], "a": {"账户": "x"}}, indent=2).encode()
    assert encode_document(parse_document(foreign, max_size=1000)) == canonical
    assert parse_document(canonical, max_size=1000) == {"a": {"账户": "x"}, "b": [1, Decimal("0.25")]}


@given(st.lists(st.tuples(IN_SCALE, PLACES), min_size=2, max_size=9))
def test_sums_of_believed_quantities_are_exact(items: list[tuple[int, int]]) -> None:
    """Q3: in the default context of `decimal`."""
    total = plain(sum((exact_quantity(value, places) for value, places in items), start=0))
    exact = sum(value * 10 ** (MAX_PLACES - places) for value, places in items)
    assert total * 10**MAX_PLACES == exact
    assert repr(total) == repr(read_number(str(total)))


def test_the_bounds_of_what_is_believed() -> None:
    assert is_believed(MAX_QUANTITY)
    assert not is_believed(MAX_QUANTITY + Decimal("0.1"))
    assert is_believed(Decimal("0.000001"))
    assert not is_believed(Decimal("0.0000001"))
