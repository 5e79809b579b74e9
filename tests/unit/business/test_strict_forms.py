"""Reading an operation in one pass, and field by field: the same record, or the same refusal."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from business_chain.operation_schemas import STORY
from business_chain.operations.fields import plan_of, read_record
from business_chain.operations.operation_records import Operation
from business_chain.operations.operation_types import OPERATION_RECORDS, OPERATIONS, parse_operation
from business_chain.operations.strict_forms import strict_form
from common.core.codec import MAX_SAFE_INTEGER
from common.core.errors import Rejected

RESIDENT_NUMBER = "110101190001010015"
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [
            *(None, True, False, 0, 1, -1, 2, 5, 6, 10**15, 10**15 + 1, MAX_SAFE_INTEGER, MAX_SAFE_INTEGER + 1, 10**30),
            *("", " ", "a", "a ", "A-1", "a\n", "B/1", ".", "\u00ad", "㐂", "x" * 64, "x" * 65, "x" * 257, "0" * 64),
            *("156", "151", "person", "share", "2026-02-28", "2026-02-29", "0000-01-01", "2026-13-01"),
            *("BJ000001F.DCFGFR2110", "BJ000001F.DCFGFR2100", "BJ000001F", "Q000000001", "91110000FAKE00013H"),
            *(RESIDENT_NUMBER, f"x-{RESIDENT_NUMBER}", "1101-0119-0001-0100-15", "text/plain", "ed25519:" + "0" * 64),
            *([], {}, [1], [{}], {"a": RESIDENT_NUMBER}, [RESIDENT_NUMBER], 1.0, [[]], {"a": {}}),
        ]
    ),
    st.integers(-(2**70), 2**70),
    st.text(max_size=70),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every value inside, itself included."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, item in items for place in places(item, (*path, name)))]


def changed(document: dict[str, Any], place: tuple[Any, ...], value: Any, how: str) -> dict[str, Any]:
    """A copy with the value at a place set, removed, or another one beside it."""
    result: Any = copy.deepcopy(document)
    inner = result
    for step in place[:-1]:
        inner = inner[step]
    if how == "set":
        inner[place[-1]] = value
    elif how == "remove":
        del inner[place[-1]]
    elif isinstance(inner, dict):
        inner["file_hash" if len(place) > 1 else "share_nature"] = value
    else:
        inner.append(value)
    return dict(result)


def outcome(read: Any) -> Any:
    """What reading gives, or the refusal with its parameters."""
    try:
        return msgspec.to_builtins(read())
    except Rejected as refusal:
        return type(refusal), refusal.code, refusal.parameters


def both_ways(document: dict[str, Any]) -> None:
    record = OPERATION_RECORDS[document["type"]]
    by_field = outcome(lambda: read_record(record, document, beside=frozenset({"type"})))
    in_one_pass = outcome(lambda: parse_operation(document, OPERATIONS.at(1)))
    if isinstance(in_one_pass, dict):
        assert in_one_pass.pop("type", document["type"]) == document["type"]
    assert by_field == in_one_pass


@pytest.mark.parametrize("document", STORY, ids=[operation["business_id"] for operation in STORY])
def test_an_operation_with_nothing_wrong_is_read_in_one_pass(document: dict[str, Any]) -> None:
    record = OPERATION_RECORDS[document["type"]]
    form = strict_form(record, document["type"])
    operation = msgspec.convert(document, form.record)
    assert isinstance(operation, record)
    assert isinstance(operation, Operation)
    assert not form.has_fault(operation)
    expected = read_record(record, document, beside=frozenset({"type"}))
    for field in plan_of(record):
        read, known = getattr(operation, field.name), getattr(expected, field.name)
        assert msgspec.to_builtins(read) == msgspec.to_builtins(known)
    both_ways(document)


@given(data=st.data())
def test_reading_in_one_pass_accepts_and_refuses_what_reading_by_fields_does(data: st.DataObject) -> None:
    document = data.draw(st.sampled_from(STORY))
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from([place for place in places(document) if place and place[0] != "type"]))
        document = changed(document, place, data.draw(VALUES), data.draw(st.sampled_from(["set", "add", "remove"])))
    both_ways(document)
