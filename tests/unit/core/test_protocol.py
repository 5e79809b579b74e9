"""Tables of what is available since which protocol version."""

from __future__ import annotations

import pytest

from common.core.errors import InvariantBroken
from common.core.protocol import (
    VersionedTable,
    VersionedValue,
    latest_version,
    rehearse_next_version,
    supported_versions,
)


def test_what_a_later_version_adds_or_replaces_changes_nothing_before_it() -> None:
    table, layout = VersionedTable[str]("operation"), VersionedValue("layout", "one")
    table.add("transfer", "as first", since=1)
    table.add("pledge", "as first", since=1)
    before = dict(table.at(1))
    with rehearse_next_version() as version:
        table.add("transfer", "as second", since=version)
        table.add("accept", "new", since=version)
        layout.add("two", since=version)
        assert dict(table.at(1)) == before
        assert list(table.at(version).items()) == [("accept", "new"), ("pledge", "as first"), ("transfer", "as second")]
        assert (layout.at(1), layout.at(version), layout.declared()) == ("one", "two", [(1, "one"), (version, "two")])
        assert table.declared()[-1] == (version, "transfer", "as second")


def test_a_rehearsal_leaves_nothing_behind() -> None:
    table, known = VersionedTable[str]("operation"), supported_versions()
    with rehearse_next_version() as version:
        assert (latest_version(), supported_versions()) == (version, (*known, version))
        table.add("accept", "new", since=version)
        assert "accept" in table.at(version)
    assert supported_versions() == known
    assert (dict(table.at(version)), table.declared()) == ({}, [])


def test_nothing_is_declared_twice_or_under_a_version_that_is_not_supported() -> None:
    table = VersionedTable[str]("operation")
    table.add("transfer", "as first", since=1)
    for name, since in (("transfer", 1), ("accept", 0), ("accept", latest_version() + 1)):
        with pytest.raises(InvariantBroken):
            table.add(name, "other", since=since)
