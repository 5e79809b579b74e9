"""Protocol versions: which ones this software knows, and since which one each thing of the protocol is available.

A header names the version that its block obeys. A chain starts with the version of its genesis and goes on to the next
one at a height that governance sets (`protocol.activate`): nodes are upgraded one by one before. What a version has is
declared beside the thing itself, in one of two kinds of table::

    OPERATIONS: Final = VersionedTable[OperationType]("operation")        many things, each by its name
    OPERATIONS.add("registration.transfer", OperationType(...), since=1)  available from version 1 on
    OPERATIONS.at(context.protocol_version)                               what a block of that version has

    LAYOUTS: Final = VersionedValue("header layout", LayoutOne())         one thing that is replaced by another
    LAYOUTS.add(LayoutTwo(), since=2)                                     in force from version 2 on
    LAYOUTS.at(header.protocol_version)                                   what holds for that version

A rule asks with the version of the block that it judges (`BlockContext.protocol_version`, `Header.protocol_version`),
never with the newest one that the software knows. Adding a name again with a later `since` replaces it from there on;
what was before stays for older blocks.

Invariants
  V1  What a version has never changes once a chain may have activated it: software adds entries under the version that
      no chain obeys yet, and removes none.
  V2  Nothing is declared under a version that this software does not support.
  V3  Order of declaration means nothing: `at` lists names in ascending order.

Version 1 is what docs/protocol*.md say. Reference: architecture decisions 17 and 18, protocol rules 8 and 30, attack
C19, ADR 0050 and 0070. Left out: when a version becomes active (`common.chain.schedule`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from common.core.errors import InvariantBroken

FIRST_VERSION: Final = 1
_supported: Final = [FIRST_VERSION]
_forgetters: Final[list[Callable[[int], None]]] = []
"""How each table forgets what a rehearsal declared."""
_Thing = TypeVar("_Thing")


def supported_versions() -> tuple[int, ...]:
    """Versions that this software executes, verifies and votes on, ascending."""
    return tuple(_supported)


def latest_version() -> int:
    """The newest of `supported_versions`."""
    return _supported[-1]


def check_supported(what: str, since: int) -> None:
    """Raise `InvariantBroken` if something is declared since a version that is not supported (V2)."""
    if since not in _supported:
        raise InvariantBroken(f"{what} is declared since version {since}, which is not supported")


def forget_with(forget_after: Callable[[int], None]) -> None:
    """Have this called when a rehearsal ends, with the version whose things stay, and those of earlier ones."""
    _forgetters.append(forget_after)


class VersionedTable(Generic[_Thing]):
    """Things by name, each with the protocol version since which it is available."""

    def __init__(self, what: str) -> None:
        """`what` says in messages what the things are."""
        self.what = what
        self._entries: dict[tuple[int, str], _Thing] = {}
        self._at: dict[int, Mapping[str, _Thing]] = {}
        forget_with(self.forget_after)

    def add(self, name: str, thing: _Thing, *, since: int) -> None:
        """Declare a thing. Raises `InvariantBroken` for one that is declared, or a version that is not supported."""
        check_supported(f"{self.what} {name}", since)
        if (since, name) in self._entries:
            raise InvariantBroken(f"{self.what} {name} is declared twice since version {since}")
        self._entries[since, name] = thing
        self._at.clear()

    def at(self, version: int) -> Mapping[str, _Thing]:
        """What a block of this version has, by name, ascending."""
        known = self._at.get(version)
        if known is None:
            newest = {name: self._entries[since, name] for since, name in sorted(self._entries) if since <= version}
            known = self._at[version] = MappingProxyType(dict(sorted(newest.items())))
        return known

    def declared(self) -> list[tuple[int, str, _Thing]]:
        """Every declaration as (since, name, thing), ascending: decoders of all versions stay."""
        return [(since, name, self._entries[since, name]) for since, name in sorted(self._entries)]

    def forget_after(self, version: int) -> None:
        """Drop what was declared since later versions: the end of a rehearsal."""
        for key in [key for key in self._entries if key[0] > version]:
            del self._entries[key]
        self._at.clear()


class VersionedValue(Generic[_Thing]):
    """One thing of the protocol that later versions may replace."""

    _NAME: Final = ""

    def __init__(self, what: str, first: _Thing) -> None:
        """`first` holds from the first version on."""
        self._table = VersionedTable[_Thing](what)
        self.add(first, since=FIRST_VERSION)

    def add(self, thing: _Thing, *, since: int) -> None:
        """Replace it from a version on. Raises as `VersionedTable.add`."""
        self._table.add(self._NAME, thing, since=since)

    def at(self, version: int) -> _Thing:
        """What holds for a block of this version."""
        return self._table.at(version)[self._NAME]

    def declared(self) -> list[tuple[int, _Thing]]:
        """Every one as (since, thing), ascending."""
        return [(since, thing) for since, _, thing in self._table.declared()]


@contextmanager
def rehearse_next_version() -> Iterator[int]:
    """Support one version more until the end of the block, which gets its number; what is declared since it is
    forgotten then. So an upgrade can be rehearsed before there is one: no release calls this.
    """
    version = latest_version() + 1
    _supported.append(version)
    try:
        yield version
    finally:
        _supported.remove(version)
        for forget_after in _forgetters:
            forget_after(version - 1)
