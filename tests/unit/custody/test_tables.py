"""Tables: paths that no foreign identifier can imitate, canonical records, and what one transaction sees of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.chain.application import OverlayView
from common.core.codec import canonical_json
from common.core.errors import InvariantBroken, Malformed
from custody_chain.records import Records
from custody_chain.tables import TABLES
from custody_chain.tables.table import Foreign, Number, Table
from tests.support.dict_state import DictState


class PlaceKey(NamedTuple):
    region: str
    object_id: Foreign
    number: Number


class Place(msgspec.Struct, frozen=True):
    zeal: str
    amount: int
    about: dict[str, str]
    maybe: int | None = None


PLACES: Table[PlaceKey, Place] = Table("place", PlaceKey, Place)
NOTES: Table[PlaceKey, dict] = Table("note", PlaceKey, dict, index=True)  # type: ignore[type-arg]

KEYS = st.builds(
    PlaceKey,
    st.sampled_from(["bj", "sh"]),
    st.text(max_size=12) | st.sampled_from(["-", "%-", "a/b", "%2F"]),
    st.integers(0, 2**40),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@pytest.mark.parametrize("key", [("beijing", "a"), ("beijing", "a", 1, 2), (None, "a", 1)])
def test_a_key_that_is_none_of_the_family_has_no_path(key: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        PLACES.path(key)


def place(amount: int, **about: str) -> Place:
    return Place(zeal="é", amount=amount, about=about)


@given(KEYS, KEYS)
def test_a_path_is_of_one_key_alone(one: PlaceKey, other: PlaceKey) -> None:
    assert (PLACES.path(one) == PLACES.path(other)) == (one == other)
    assert PLACES.key(PLACES.path(one)) == one
    assert PLACES.path(one).count(b"/") == 3


@given(KEYS, st.integers(0, 2**40))
def test_the_order_of_paths_is_the_order_of_numbers(key: PlaceKey, number: int) -> None:
    other = key._replace(number=number)
    assert (PLACES.path(key) < PLACES.path(other)) == (key.number < number)


@given(KEYS)
def test_a_prefix_is_of_whole_members(key: PlaceKey) -> None:
    assert PLACES.path(key).startswith(PLACES.prefix(key.region, key.object_id))
    assert not PLACES.path(key).startswith(PLACES.prefix(key.region, key.object_id + "x"))


@given(
    st.builds(Place, TEXTS, st.integers(-(2**53) + 1, 2**53 - 1), st.dictionaries(st.text("abcz_", max_size=4), TEXTS))
)
def test_a_record_is_canonical_json(record: Place) -> None:
    data = PLACES.encode(record)
    assert data == canonical_json(msgspec.to_builtins(record))
    assert PLACES.decode(data) == record


def test_a_plain_record_without_a_canonical_form_is_refused() -> None:
    with pytest.raises(Malformed):
        NOTES.encode({"number": 0.5})


def test_families_have_names_of_their_own_and_are_those_of_the_specification() -> None:
    names = [table.name for table in TABLES]
    assert len(set(names)) == len(names)
    text = (Path(__file__).parents[3] / "docs" / "protocol-state.md").read_text(encoding="utf-8")
    families = text.partition("## 5 ")[2]
    listed = set(re.findall(r"^\| `([a-z_]+)[/`]", families, re.MULTILINE))
    assert listed == {*names, "signer", "governance", "policy", "chain"}


def test_nothing_reaches_the_state_before_flush_and_an_undo_is_exact() -> None:
    view = OverlayView(DictState())
    records, key, other = Records(view, 1), PlaceKey("bj", "a", 1), PlaceKey("bj", "b", 1)
    records.put(PLACES, key, place(1))
    records.savepoint()
    records.put(PLACES, key, place(2))
    records.put(PLACES, other, place(3))
    records.delete(PLACES, key)
    assert records.get(PLACES, key) is None
    records.undo()
    assert records.get(PLACES, key) == place(1)
    assert records.get(PLACES, other) is None
    assert view.state_changes == {}
    records.flush()
    assert view.state_changes == {PLACES.path(key): PLACES.encode(place(1))}


def test_a_scan_sees_own_changes_and_stays_in_its_family() -> None:
    view = OverlayView(DictState())
    records = Records(view, 1)
    for number in (3, 1, 2):
        records.put(PLACES, PlaceKey("bj", "a", number), place(number))
    records.put(PLACES, PlaceKey("bj", "ab", 0), place(9))
    records.add(NOTES, PlaceKey("bj", "a", 7), {"text": "ü"})
    records.delete(PLACES, PlaceKey("bj", "a", 2))
    assert [key.number for key, _ in records.scan(PLACES, 10, "bj", "a")] == [1, 3]
    assert records.scan(PLACES, 1, "bj", "a") == [(PlaceKey("bj", "a", 1), place(1))]
    assert [record for _, record in records.scan(NOTES, 10, "bj")] == [{"text": "ü"}]
    assert list(view.index_changes) == [b"note/bj/a/" + b"0" * 15 + b"7"]


def test_a_family_of_a_later_version_is_not_written_before() -> None:
    later = Table("later", PlaceKey, Place, since=2)
    key = PlaceKey("bj", "a", 1)
    early, late = Records(OverlayView(DictState()), 1), Records(OverlayView(DictState()), 2)
    with pytest.raises(InvariantBroken):
        early.put(later, key, place(1))
    assert early.get(later, key) is None
    late.put(later, key, place(1))
    assert late.get(later, key) == place(1)
