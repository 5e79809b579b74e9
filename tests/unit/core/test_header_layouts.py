"""A header's layout is given by its protocol version: a later layout changes no header of an earlier version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from common.core.changes import change_leaf, change_root
from common.core.errors import InvariantBroken, Malformed
from common.core.header import (
    DIGEST,
    FIELDS_OF_VERSION_1,
    U32,
    Header,
    HeaderLayout,
    build_header,
    protocol_version_of,
    register_layout,
)
from common.core.protocol import latest_version, rehearse_next_version
from common.core.state_proof import value_hash
from tests.support.refusals import refused
from tests.unit.core.builders import SUITE, header, validator_set

NEXT = latest_version() + 1
HEADER = header(validator_set(4))


@dataclass(frozen=True, slots=True, kw_only=True)
class NextHeader(Header):
    """What a later version might add."""

    work_root: bytes = bytes(32)
    work_count: int = 0


NEXT_LAYOUT = HeaderLayout(NEXT, (*FIELDS_OF_VERSION_1, ("work_root", DIGEST), ("work_count", U32)), NextHeader)


@pytest.fixture
def next_layout() -> Iterator[None]:
    with rehearse_next_version():
        register_layout(NEXT_LAYOUT)
        yield


def fields(version: int) -> dict[str, Any]:
    return {name: getattr(HEADER, name) for name in ("network", *(name for name, _ in FIELDS_OF_VERSION_1))} | {
        "protocol_version": version
    }


@pytest.mark.usefixtures("next_layout")
def test_a_later_layout_holds_from_its_version_on_and_changes_nothing_before() -> None:
    old, encoded = HEADER, HEADER.encode()
    assert build_header(**fields(1)) == old
    assert Header.decode(encoded) == old
    for version in (NEXT, NEXT + 1):
        new = build_header(**fields(version))
        assert isinstance(new, NextHeader)
        given = replace(new, work_root=bytes(range(32)), work_count=7)
        assert len(given.encode()) == len(encoded) + 36
        assert Header.decode(given.encode()) == given
        assert Header.decode(new.encode()) == new
        assert len({old.id(SUITE), new.id(SUITE), given.id(SUITE)}) == 3


@pytest.mark.usefixtures("next_layout")
def test_a_layout_is_given_once() -> None:
    with pytest.raises(InvariantBroken):
        register_layout(HeaderLayout(NEXT, FIELDS_OF_VERSION_1))


def test_a_layout_is_of_a_version_that_this_software_supports_and_a_rehearsal_leaves_none() -> None:
    with rehearse_next_version():
        register_layout(NEXT_LAYOUT)
    assert type(build_header(**fields(NEXT))) is Header
    with pytest.raises(InvariantBroken):
        register_layout(NEXT_LAYOUT)


def test_c19_software_that_does_not_know_a_layout_says_that_it_is_too_old() -> None:
    with rehearse_next_version():
        register_layout(NEXT_LAYOUT)
        data = build_header(**fields(NEXT)).encode()
    assert protocol_version_of(data) == NEXT
    with refused("header_version", Malformed):
        Header.decode(data)


def test_the_root_over_changes_tells_key_value_and_removal_apart() -> None:
    digest = value_hash(SUITE, b"1")
    assert change_leaf(b"a", digest) == b"\1" + digest + b"a"
    roots = [
        change_root(SUITE, changes)
        for changes in (
            {},
            {b"a": digest},
            {b"a": None},
            {b"b": digest},
            {b"a": value_hash(SUITE, b"2")},
            {b"a": digest, b"b": None},
        )
    ]
    assert len(set(roots)) == len(roots)
    assert change_root(SUITE, {b"b": None, b"a": digest}) == roots[-1]
