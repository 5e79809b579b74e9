"""Validator sets: quorum by brute force, leaders, identity, limits."""

from __future__ import annotations

from itertools import combinations

import pytest

from common.core.codec import Writer
from common.core.errors import Malformed
from common.core.validators import Validator, ValidatorSet, organisations
from tests.unit.core import builders
from tests.unit.core.builders import SUITE


@pytest.mark.parametrize("size", range(1, 11))
def test_c7_quorum_is_the_smallest_safe_number(size: int) -> None:
    """Brute force, n = 1..10: any two quorums share an honest member, one less does not, the honest reach it."""
    validators = builders.validator_set(size)
    quorum, faulty = validators.quorum, validators.fault_bound
    assert faulty == max(f for f in range(size) if 3 * f + 1 <= size)

    def safe(votes: int) -> bool:
        groups = list(combinations(range(size), votes))
        return all(len(set(first) & set(second)) > faulty for first in groups for second in groups)

    assert safe(quorum)
    assert not safe(quorum - 1)
    assert size - faulty >= quorum


def test_c7_quorum_holds_the_formula_for_every_allowed_size() -> None:
    members = builders.validator_set(100).members
    for size in range(1, 101):
        validators = ValidatorSet(members[:size])
        faulty = (size - 1) // 3
        assert validators.quorum == -((size + faulty + 1) // -2)
        assert 2 * validators.quorum - size > faulty
        assert size - faulty >= validators.quorum


def test_leaders_rotate_by_height_and_view() -> None:
    validators = builders.validator_set(4)
    assert [validators.leader(height, 0) for height in range(1, 6)] == [1, 2, 3, 0, 1]
    assert [validators.leader(7, view) for view in range(5)] == [3, 0, 1, 2, 3]


def test_members_are_found_by_key() -> None:
    validators = builders.validator_set(4)
    assert validators.index_of(validators.members[2].public_key) == 2
    assert validators.index_of(bytes(32)) is None


def test_order_names_organisations_and_keys_are_part_of_the_identity() -> None:
    first, second, third = builders.validator_set(3).members
    original = ValidatorSet((first, second, third))
    others = [
        ValidatorSet((second, first, third)),
        ValidatorSet((first, second)),
        ValidatorSet((Validator("renamed", first.organisation, first.public_key), second, third)),
        ValidatorSet((Validator(first.name, "other", first.public_key), second, third)),
        ValidatorSet((Validator(first.name, first.organisation, bytes(32)), second, third)),
    ]
    hashes = {item.hash(SUITE) for item in [original, *others]}
    assert len(hashes) == 6
    assert original.hash(SUITE) == ValidatorSet.decode(original.encode()).hash(SUITE)


def test_e4_moving_bytes_between_fields_changes_the_hash() -> None:
    key = builders.validator_set(1).members[0].public_key
    first, second = ValidatorSet((Validator("ab", "c", key),)), ValidatorSet((Validator("a", "bc", key),))
    assert first.hash(SUITE) != second.hash(SUITE)


def test_repeated_names_or_keys_and_wrong_sizes_are_refused() -> None:
    first, second = builders.validator_set(2).members
    members = builders.validator_set(100).members
    extra = Validator("extra", "x", bytes(32))
    for broken in (
        (first, Validator("other", "x", first.public_key)),
        (first, Validator(first.name, "x", second.public_key)),
        (),
        (*members, extra),
    ):
        with pytest.raises(Malformed):
            ValidatorSet(broken)


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "a.b", "a\n", "é", "a" * 65])
def test_n6_names_that_logs_or_urls_would_have_to_escape_are_refused(name: str) -> None:
    with pytest.raises(Malformed):
        Validator(name, "x", bytes(32))


@pytest.mark.parametrize(
    "organisation", ["", "ORG-A", "\u043erg-a", "\uff4frg-a", "o\u0308rg-a", "a b", "a\nb", "x" * 65]
)
def test_n6_organisations_have_one_spelling_alone(organisation: str) -> None:
    """Upper case, Cyrillic, full-width and decomposed forms would be other organisations that look the same."""
    with pytest.raises(Malformed, match="principal_invalid"):
        Validator("a", organisation, bytes(32))


def test_json_round_trip_and_unsafe_keys() -> None:
    validators = builders.validator_set(4)
    assert ValidatorSet.from_json(validators.to_json(SUITE), SUITE) == validators
    validators.check_keys(SUITE)
    broken = validators.to_json(SUITE)
    broken[0]["public_key"] = "ed25519:" + "00" * 32
    with pytest.raises(Malformed):
        ValidatorSet.from_json(broken, SUITE)


def test_e3_a_decoded_set_with_an_unsafe_key_fails_the_key_check() -> None:
    unsafe = ValidatorSet((Validator("a", "x", bytes(32)),))
    with pytest.raises(Malformed):
        ValidatorSet.decode(unsafe.encode()).check_keys(SUITE)


@pytest.mark.parametrize(
    "value", [None, {}, ["x"], [{"name": "a"}], [{"name": "a", "organisation": "x", "public_key": 1}]]
)
def test_other_json_is_refused(value: object) -> None:
    with pytest.raises(Malformed):
        ValidatorSet.from_json(value, SUITE)


def test_e2_other_versions_counts_and_text_are_refused() -> None:
    good = builders.validator_set(1).encode()
    not_utf8 = Writer().u8(1).u16(1).text8("a").blob(b"\xff").blob(bytes(32)).bytes()
    for data in (b"\x02" + good[1:], b"\x01\x00\x65" + good[3:], b"\x01\x00\x00", not_utf8):
        with pytest.raises(Malformed):
            ValidatorSet.decode(data)


def test_organisations_are_listed_once() -> None:
    assert organisations(builders.validator_set(4).members) == ("market",)
